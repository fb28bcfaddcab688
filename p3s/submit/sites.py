"""Files that define a site."""

from __future__ import annotations

from p3s.engine.load import validate_data
from p3s.engine.problems import Fault, Source, make_problems
from p3s.engine.sites import SiteSpec
from p3s.engine.units import describe
from p3s.engine.yamltext import read_yaml
from p3s.errors import BadInput, Problem
from p3s.settings import normalise_url

__all__ = ["read_site"]


def read_site(text: str, file: str) -> SiteSpec:
    r"""Return the site that a text describes.

    Parameters
    ----------
    text : str
        JSON, as the first p3s had it, or YAML; numbers may be text.
    file : str
        The file's name, for messages.

    Raises
    ------
    BadInput
        With all problems.

    Examples
    --------
    >>> site = read_site('{"name": "lxvm", "pilotcycles": "20", "pilotperiod": 40, "env": {"A": 1}}', "x.json")
    >>> site.pilotcycles, site.pilotperiod, site.env
    (20, 40.0, {'A': '1'})
    """
    data = read_yaml(text, file)
    if not isinstance(data, dict):
        raise BadInput([Problem(f"must hold keys such as `name:`, is {describe(data)}", file=file, line=1, column=1)])
    # An empty text says nothing, as in files of the first p3s.
    data = {key: value for key, value in data.items() if value is not None and (value != "" or key == "name")}
    spec, faults = validate_data(SiteSpec, data)
    if isinstance(server := data.get("server"), str):
        try:
            normalise_url(server)
        except BadInput as error:
            faults.append(Fault(("server",), error.problems[0].message))
    if faults or spec is None:
        raise BadInput(make_problems(faults, Source(text, file)))
    return spec
