"""How the server behaves."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from p3s.engine.purging import PurgeKind, parse_policy
from p3s.engine.units import parse_duration
from p3s.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p3s.settings.home import Home

__all__ = ["ServerSettings", "find_notify", "read_counts", "read_durations", "read_log_settings", "read_policy"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the server behaves; all durations are seconds.

    Attributes
    ----------
    database : str
        An SQLAlchemy address.
    home : Home
        Where tokens of the first start are written.
    heartbeat, lease, poll, ack, patience : float
        What pilots are told, and how long an unacknowledged claim lasts. ``P3S_HEARTBEAT``, ``P3S_LEASE`` and
        ``P3S_ACK`` in the server's environment set three of them (see `read_durations`).
    infrastructure_budget : int
        How often a job is given out again after losses that are not its own doing.
    page : int
        The largest page of a list.
    max_body, max_bundle, max_result : int
        Largest request, bundle and result file in bytes.
    max_jobs : int
        Most jobs of one workflow.
    submissions, logins : int
        Submissions a minute that each token may make, and logins a minute from each address; 0 for no limit.
        ``P3S_SUBMISSIONS`` and ``P3S_LOGINS``.
    purge : mapping
        How old what ended must be for the server to purge it daily, by kind; ``P3S_PURGE``.
    open_reading : bool
        Whether anyone may read without a token; ``--open-reading``.
    proxies : int
        Trusted proxies in front of the server, whose ``X-Forwarded-`` headers count; ``--trusted-proxies``.
    secure : bool
        Whether all come by TLS, so that cookies are sent over nothing else.
    """

    database: str
    home: Home
    heartbeat: float = 10.0
    lease: float = 60.0
    poll: float = 50.0
    ack: float = 8.0
    patience: float = 900.0
    sweep: float = 1.0
    infrastructure_budget: int = 5
    page: int = 1000
    max_body: int = 256 * 1024 * 1024
    max_bundle: int = 20 * 1024 * 1024
    max_result: int = 5 * 1024 * 1024
    max_jobs: int = 200_000
    submissions: int = 6000
    logins: int = 30
    purge: Mapping[PurgeKind, float] = field(default_factory=dict)
    open_reading: bool = False
    proxies: int = 0
    secure: bool = False


def find_notify(given: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file that says whom to notify: the option, ``P3S_NOTIFY``, or none."""
    named = environ.get("P3S_NOTIFY")
    return given or (Path(named) if named else None)


def read_durations(environ: Mapping[str, str] = os.environ) -> dict[str, float]:
    """Return the durations of `ServerSettings` that the environment sets, in seconds.

    A lease that is given also bounds the poll: a call must not be held past its own lease.

    Raises
    ------
    BadInput
        If one is no duration, or the lease does not exceed the heartbeat.

    Examples
    --------
    >>> read_durations({"P3S_LEASE": "2m", "P3S_HEARTBEAT": "20"})
    {'lease': 120.0, 'heartbeat': 20.0, 'poll': 50.0}
    """
    given = {
        "lease": environ.get("P3S_LEASE"),
        "heartbeat": environ.get("P3S_HEARTBEAT"),
        "ack": environ.get("P3S_ACK"),
    }
    found: dict[str, float] = {}
    for field_name, text in given.items():
        if text is None:
            continue
        try:
            found[field_name] = parse_duration(text)
        except PydanticCustomError as error:
            raise BadInput([f"P3S_{field_name.upper()}: {error.message()}"]) from error
        if found[field_name] <= 0:
            raise BadInput([f"P3S_{field_name.upper()} is {text}; give more than 0 seconds"])
    usual: dict[str, Any] = {entry.name: entry.default for entry in fields(ServerSettings)} | found
    lease, heartbeat = usual["lease"], usual["heartbeat"]
    if lease <= heartbeat:
        raise BadInput([f"P3S_LEASE: {lease:g} s end before the next heartbeat, at {heartbeat:g} s; give more"])
    if "lease" in found:
        found["poll"] = min(usual["poll"], lease * 5 / 6)
    return found


def read_counts(environ: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Return the rates of `ServerSettings` that the environment sets.

    Raises
    ------
    BadInput
        If one is no number.

    Examples
    --------
    >>> read_counts({"P3S_LOGINS": "5"})
    {'logins': 5}
    """
    given = {"submissions": environ.get("P3S_SUBMISSIONS"), "logins": environ.get("P3S_LOGINS")}
    for name, text in given.items():
        if text is not None and not (text.isascii() and text.isdigit() and len(text) < 10):
            raise BadInput([f"P3S_{name.upper()} is '{text}'; give a number a minute, or 0 for no limit"])
    return {name: int(text) for name, text in given.items() if text is not None}


def read_policy(environ: Mapping[str, str] = os.environ) -> dict[PurgeKind, float]:
    """Return what the server purges daily: how many seconds old each kind must be, by ``P3S_PURGE``.

    Raises
    ------
    BadInput
        If the environment has no policy there.

    Examples
    --------
    >>> read_policy({"P3S_PURGE": "jobs=7d"})
    {<PurgeKind.JOBS: 'jobs'>: 604800.0}
    """
    try:
        return parse_policy(environ.get("P3S_PURGE") or "")
    except BadInput as error:
        raise BadInput([f"P3S_PURGE: {problem}" for problem in error.problems]) from error


def read_log_settings(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the style (``text``, ``json``) and the level of the server's log.

    Raises
    ------
    BadInput
        If one is unknown.
    """
    style, level = environ.get("P3S_LOG") or "text", environ.get("P3S_LOG_LEVEL") or "warning"
    if style not in {"text", "json"}:
        raise BadInput([f"P3S_LOG is '{style}'; give text or json"])
    if level not in {"debug", "info", "warning", "error"}:
        raise BadInput([f"P3S_LOG_LEVEL is '{level}'; give debug, info, warning or error"])
    return style, level
