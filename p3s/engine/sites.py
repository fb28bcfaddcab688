"""Sites: named settings that pilots fetch when they start, in the words of the first p3s."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import Field, field_validator

from p3s.engine.names import check_env_name
from p3s.engine.places import check_target
from p3s.engine.spec import Spec
from p3s.engine.units import Duration, Shorthand, Text, describe, refuse

__all__ = ["BATCH_SYSTEMS", "SITE_NAME", "SiteSpec"]

#: What a site may be called.
SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
#: The shortest poll: the server is asked once per period.
SHORTEST_PERIOD = 0.05
#: Variables of a site, and characters of each.
MOST_VARIABLES, LONGEST_VALUE = 1000, 100_000


#: Batch systems that a site may say it has; `local` is none.
BATCH_SYSTEMS = ("local", "slurm", "htcondor", "pbs", "lsf", "kubernetes")


def _decode_env(value: Any) -> Any:
    """Return an env that was written as JSON in a string, as the first p3s kept it, as a mapping."""
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value or "{}")
    except ValueError:
        return value
    return found if isinstance(found, dict) else value


class SiteSpec(Spec):
    """A site's definition; what is absent is left to each pilot.

    Attributes
    ----------
    name : str
        What pilots give to ``--site``.
    server : str
        The address at which pilots of the site reach the server; empty for the one they were told.
    env : dict
        Variables for all payloads of the site.
    pilots : int, optional
        How many pilots there should be.
    pilotcycles, pilotperiod : int, float, optional
        Empty polls in a row after which a pilot leaves, and the length of one in seconds.
    pilotbeat : float, optional
        Seconds between two signs of life; a pilot gives them no less often than the server asks for.
    pilotlife : float, optional
        Seconds after which a pilot leaves; 0 for never.
    data : str
        The folder of outputs.
    batch : str
        The batch system of its hosts, a word of `BATCH_SYSTEMS`; kept and shown, p3s submits nothing to it.
    """

    name: Text
    server: Text = ""
    env: Annotated[dict[str, Text], Shorthand(_decode_env)] = Field(default={}, max_length=MOST_VARIABLES)
    pilots: int | None = Field(default=None, ge=0, le=100_000)
    pilotcycles: int | None = Field(default=None, ge=0, le=1_000_000_000)
    pilotperiod: Duration | None = Field(default=None, ge=SHORTEST_PERIOD)
    pilotbeat: Duration | None = Field(default=None, gt=0)
    pilotlife: Duration | None = None
    data: Text = ""
    batch: Text = ""

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not SITE_NAME.fullmatch(value):
            refuse(f"{describe(value)} is no name of a site; use letters, digits and . _ @ - within")
        return value

    @field_validator("env")
    @classmethod
    def _check_env(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = [f"variable {describe(name)} {why}" for name in value if (why := check_env_name(name))]
        wrong += [f"variable '{name}' is too long" for name, text in value.items() if len(text) > LONGEST_VALUE]
        wrong += [f"variable {describe(name)} has a NUL" for name, text in value.items() if "\0" in text]
        if wrong:
            refuse("; ".join(wrong))
        return value

    @field_validator("data")
    @classmethod
    def _check_data(cls, value: str) -> str:
        if value and (wrong := check_target(f"{value}/x")):
            refuse(f"{describe(value)} {wrong}")
        return value

    @field_validator("batch")
    @classmethod
    def _check_batch(cls, value: str) -> str:
        # `HTCondor` and `SLURM` are how their people write them.
        word = value.lower()
        if word and word not in BATCH_SYSTEMS:
            refuse(f"{describe(value)} is not one of {', '.join(BATCH_SYSTEMS)}")
        return word
