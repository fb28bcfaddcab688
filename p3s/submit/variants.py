"""Several jobs of one description: replicas, one for each input file, with values set otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p3s.engine.overrides import override_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p3s.engine.spec import StandaloneSpec

__all__ = ["INPUT_FILE", "make_variants"]

#: The variable that names a job's input file.
INPUT_FILE = "P3S_INPUT_FILE"


def make_variants(
    specs: Sequence[StandaloneSpec], *, values: Mapping[str, str], inputs: Sequence[str] = (), number: int = 1
) -> list[StandaloneSpec]:
    """Return jobs made of others.

    Parameters
    ----------
    specs : sequence of StandaloneSpec
        The descriptions.
    values : mapping of str to str
        What is set otherwise in each, by path, such as ``env.X``.
    inputs : sequence of str
        Files; each description becomes one job for each of them, which finds it in ``P3S_INPUT_FILE``.
    number : int
        Replicas of each.

    Returns
    -------
    list of StandaloneSpec
        Replicas are one object, so what belongs to them is read once.

    Raises
    ------
    BadInput
        If a value does not fit.
    """
    changed = [override_job(spec, values) for spec in specs]
    if inputs:
        changed = [override_job(spec, {f"env.{INPUT_FILE}": file}) for spec in changed for file in inputs]
    return [spec for spec in changed for _ in range(number)]
