"""Who may do what: tokens, roles, and the one table of what each route needs."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.errors import NotAllowed, NoToken
from p3s.server.models import pilot, token
from p3s.server.prepared import Prepared, param
from p3s.server.secrets import hash_token, make_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from p3s.server.usecases.core import Core
    from p3s.settings import Home

__all__ = [
    "NEEDS",
    "Role",
    "Who",
    "authenticate",
    "ensure_tokens",
    "find_who",
    "keep_home_token",
    "require_owner",
    "require_role",
    "send_for_who",
]


class Role(StrEnum):
    """What a token admits."""

    #: Needs no token.
    ANYONE = "anyone"
    #: Reads.
    VIEWER = "viewer"
    #: Reads, submits, and changes what is its own.
    SUBMITTER = "submitter"
    #: Registers pilots, nothing else.
    PILOT = "pilot"
    #: One registered pilot, by the secret that its registration returned.
    SELF = "self"
    #: Everything.
    ADMIN = "admin"


_READ = frozenset({Role.VIEWER, Role.SUBMITTER, Role.ADMIN})
_SUBMIT = frozenset({Role.SUBMITTER, Role.ADMIN})
_ADMIN = frozenset({Role.ADMIN})
_ANYONE = frozenset({Role.ANYONE})

#: What each route needs; the application does not start when a route is missing here.
NEEDS: dict[str, frozenset[Role]] = {
    "static": _ANYONE,
    "health": _ANYONE,
    "ready": _ANYONE,
    "metrics": _READ,
    "monitor.login": _ANYONE,
    "monitor.show_login": _ANYONE,
    "monitor.logout": _ANYONE,
    "monitor.overview": _READ,
    "monitor.workflows": _READ,
    "monitor.workflow": _READ,
    "monitor.archive": _READ,
    "monitor.graph": _READ,
    "monitor.timeline": _READ,
    "monitor.series": _READ,
    "monitor.result_series": _READ,
    "monitor.jobs": _READ,
    "monitor.job": _READ,
    "monitor.log": _READ,
    "monitor.pilots": _READ,
    "monitor.pilot": _READ,
    "monitor.hosts": _READ,
    "monitor.sites": _READ,
    "monitor.jobtypes": _READ,
    "monitor.datasets": _READ,
    "monitor.dataset": _READ,
    "monitor.datatypes": _READ,
    "monitor.files": _READ,
    "monitor.dags": _READ,
    "monitor.dag": _READ,
    "monitor.services": _READ,
    "monitor.events": _READ,
    "monitor.results": _READ,
    "monitor.content": _READ,
    "monitor.search": _READ,
    "monitor.change_workflows": _SUBMIT,
    "monitor.change_jobs": _SUBMIT,
    "monitor.change_workflow": _SUBMIT,
    "monitor.change_job": _SUBMIT,
    "monitor.change_pilot": _ADMIN,
    "monitor.change_host": _ADMIN,
    "monitor.limit_jobtype": _ADMIN,
    "monitor.change_server": _ADMIN,
    "openapi.spec": _ANYONE,
    "monitor.describe_api": _ANYONE,
    "api.who": frozenset({Role.VIEWER, Role.SUBMITTER, Role.PILOT, Role.ADMIN}),
    "api.status": _READ,
    "api.why": _READ,
    "api.pause_server": _ADMIN,
    "api.resume_server": _ADMIN,
    "api.purge": _SUBMIT,
    "api.load_workflow": _SUBMIT,
    "api.list_workflows": _READ,
    "api.show_workflow": _READ,
    "api.start_workflow": _SUBMIT,
    "api.cancel_workflow": _SUBMIT,
    "api.pause_workflow": _SUBMIT,
    "api.resume_workflow": _SUBMIT,
    "api.retry_workflow": _SUBMIT,
    "api.delete_workflow": _SUBMIT,
    "api.list_results": _READ,
    "api.show_graph": _READ,
    "api.list_dags": _READ,
    "api.show_dag": _READ,
    "api.show_bundle": _READ,
    "api.delete_dag": _SUBMIT,
    "api.list_numbers": _READ,
    "api.create_jobs": _SUBMIT,
    "api.list_jobs": _READ,
    "api.show_job": _READ,
    "api.read_log": _READ,
    "api.cancel_job": _SUBMIT,
    "api.retry_job": _SUBMIT,
    "api.adjust_jobs": _SUBMIT,
    "api.cancel_jobs": _SUBMIT,
    "api.retry_jobs": _SUBMIT,
    "api.delete_jobs": _SUBMIT,
    "api.list_jobtypes": _READ,
    "api.limit_jobtype": _ADMIN,
    "api.list_datasets": _READ,
    "api.show_dataset": _READ,
    "api.register_dataset": _SUBMIT,
    "api.adjust_dataset": _SUBMIT,
    "api.delete_dataset": _SUBMIT,
    "api.list_datatypes": _READ,
    "api.add_datatype": _SUBMIT,
    "api.delete_datatype": _SUBMIT,
    "api.record_arrivals": _SUBMIT,
    "api.ask_arrivals": _SUBMIT,
    "api.list_arrivals": _READ,
    "api.why_place": _READ,
    "api.beat_service": _SUBMIT,
    "api.list_services": _READ,
    "api.list_events": _READ,
    "api.report_event": _SUBMIT,
    "api.list_pilots": _READ,
    "api.show_pilot": _READ,
    "api.drain_pilot": _ADMIN,
    "api.kill_pilot": _ADMIN,
    "api.list_hosts": _READ,
    "api.ban_host": _ADMIN,
    "api.allow_host": _ADMIN,
    "api.list_sites": _READ,
    "api.show_site": _READ | {Role.PILOT},
    "api.define_site": _ADMIN,
    "api.delete_site": _ADMIN,
    "api.fetch_blob": _READ | {Role.SELF},
    "api.store_blob": frozenset({Role.SELF}),
    "api.register_pilot": frozenset({Role.PILOT, Role.ADMIN}),
    "api.exchange": frozenset({Role.SELF}),
    "api.find_leftovers": frozenset({Role.SELF}),
    "api.list_tokens": _ADMIN,
    "api.create_token": _ADMIN,
    "api.revoke_token": _ADMIN,
    "api.rotate_token": _ADMIN,
}


@dataclass(frozen=True, slots=True)
class Who:
    """The caller: a token's name, or a pilot's uuid; `token_id` is the token's row."""

    name: str
    role: Role
    site: str | None = None
    token_id: int | None = None


def authenticate(core: Core, secret: str | None) -> Who:
    """Return whose token or pilot secret this is.

    Raises
    ------
    NoToken
        If it is nobody's, expired or revoked.
    """
    if not secret:
        raise NoToken("this needs a token; `p3s login` keeps one, or set P3S_TOKEN")
    return find_who(core, hash_token(secret))


#: Tokens that are remembered; one more, and all are forgotten.
REMEMBERED = 20_000
_FIND = Prepared(sa.select(token).where(token.c.hash == param("digest", sa.Text())))


def find_who(core: Core, digest: str) -> Who:
    """Return whose token or pilot secret has this hash.

    Raises
    ------
    NoToken
        If it is nobody's, expired or revoked.
    """
    with core.db.read() as connection:
        row = next(iter(_FIND.run(connection, digest=digest)), None)
        if row is not None:
            who = _admit(core, row)
            if len(core.whos) >= REMEMBERED:
                core.whos.clear()
            core.whos[digest] = who
            return who
        uuid = connection.scalar(sa.select(pilot.c.uuid).where(pilot.c.hash == digest))
    if uuid is None:
        raise NoToken("the server does not know this token; `p3s login` asks for another")
    return Who(uuid, Role.SELF)


def _admit(core: Core, row: Any) -> Who:
    now = read_clock()
    if row.revoked is not None or (row.expires is not None and row.expires <= now):
        raise NoToken(f"the token '{row.name}' is no longer valid; ask an admin for a new one")
    core.uses[row.id] = now
    return Who(row.name, Role(row.role), row.site, row.id)


def send_for_who(core: Core, connection: sa.Connection, digest: str, who: Who) -> Callable[[], None]:
    """Send for a token that was a caller's when this process saw it last; return what checks that it still is.

    The check raises NoToken, which rolls back what was done in the belief that it is.
    """
    sent = _FIND.send(connection, digest=digest)

    def check() -> None:
        row = next(iter(sent.rows()), None)
        if row is None or _admit(core, row) != who:
            core.whos.pop(digest, None)
            raise NoToken("the server does not know this token any more; `p3s login` asks for another")

    return check


def require_role(who: Who, endpoint: str) -> None:
    """Check that the caller may use a route.

    Raises
    ------
    NotAllowed
        If not.
    """
    needed = NEEDS[endpoint]
    if who.role not in needed:
        names = " or ".join(sorted(needed - {Role.SELF})) or "a pilot's own secret"
        raise NotAllowed(f"'{who.name}' is a {who.role}, and this needs {names}")


def require_owner(who: Who, owner: str, what: str) -> None:
    """Check that the caller owns an object, or is an admin.

    Raises
    ------
    NotAllowed
        If not.
    """
    if who.role is not Role.ADMIN and who.name != owner:
        raise NotAllowed(f"{what} belongs to {owner}; only {owner} or an admin may change it")


def ensure_tokens(core: Core, home: Home) -> None:
    """At the first start, make an admin and a pilot token and leave them in files only the user can read."""
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    user = getpass.getuser()
    for role, name in ((Role.ADMIN, user), (Role.PILOT, f"{user}-pilots")):
        path = home.token_file(role)
        if path.exists() and _is_known(core, path.read_text(encoding="utf-8").strip()):
            continue
        secret = make_token()
        _store_token(core, secret, name, role)
        _write_private(path, secret)


def keep_home_token(home: Home, role: str, old: str, secret: str) -> None:
    """Put a new secret into the file of the first start, if that file has the token with the hash `old`."""
    path = home.token_file(role)
    if path.exists() and hash_token(path.read_text(encoding="utf-8").strip()) == old:
        _write_private(path, secret)


def _is_known(core: Core, secret: str) -> bool:
    with core.db.read() as connection:
        return connection.scalar(sa.select(token.c.id).where(token.c.hash == hash_token(secret))) is not None


def _store_token(core: Core, secret: str, name: str, role: Role) -> None:
    def action(connection: sa.Connection) -> None:
        taken = connection.scalar(sa.select(token.c.id).where(token.c.name == name))
        if taken is not None and core.db.is_sqlite:
            # The embedded database has one home; its lost token file is made anew.
            connection.execute(sa.update(token).where(token.c.id == taken).values(hash=hash_token(secret)))
            return
        # Another home on the same database keeps its own token.
        free = name if taken is None else f"{name}@{socket.gethostname()}-{os.getpid()}"
        values = {"name": free, "role": role, "hash": hash_token(secret), "created": read_clock()}
        connection.execute(sa.insert(token).values(values))

    core.db.write(action)


def _write_private(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(secret + "\n")
