"""Whom a client talks to, and as whom."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from p3s.errors import BadInput, Problem
from p3s.settings.addresses import DEFAULT_PORT, is_loopback, normalise_url
from p3s.settings.contexts import find_config, read_contexts
from p3s.settings.files import read_text, read_toml, write_private
from p3s.settings.home import find_home, read_home_token, read_running

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ClientSettings",
    "allows_color",
    "find_authorities",
    "list_secret_files",
    "read_client_settings",
    "store_login",
]


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Whom to talk to, and as whom."""

    url: str
    token: str | None = field(repr=False)
    #: Where `url` came from, for messages.
    source: str = ""


def read_client_settings(
    url: str | None = None,
    *,
    role: str = "admin",
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> ClientSettings:
    """Find the server and the token.

    A token only ever goes where it belongs: one from the environment to the server chosen, one from a config
    file to the server that the same file names, one that `p3s login` stored to its own address, and one of
    the home folder to the server that runs there.

    Parameters
    ----------
    url : str, optional
        The option, if given.
    role : str
        Whose token file in the home folder to take where no other token is given.
    environ : mapping
        The environment.
    folder : Path, optional
        Where ``p3s.toml`` is looked for; the current one by default.

    Returns
    -------
    ClientSettings
        With ``token`` None if there is none.

    Raises
    ------
    BadInput
        If a config file cannot be read, the context in use is not there, or the address is none.
    """
    home = find_home(environ)
    local = read_toml((folder or Path.cwd()) / "p3s.toml")
    contexts = read_contexts(environ)
    context = contexts.find_used()
    logins = _read_logins(environ)
    running = read_running(home)
    candidates = (
        (url, "--server"),
        (environ.get("P3S_SERVER"), "P3S_SERVER"),
        (local.get("server"), "p3s.toml"),
        (context and context.server, str(contexts.file)),
        (logins.get("current"), "p3s login"),
        (running, str(home.server_file)),
        (f"http://127.0.0.1:{DEFAULT_PORT}", "the default"),
    )
    found, source = next((value, source) for value, source in candidates if value)
    chosen = normalise_url(str(found))
    token = environ.get("P3S_TOKEN")
    if not token and environ.get("P3S_TOKEN_FILE"):
        token = read_text(Path(environ["P3S_TOKEN_FILE"]))
    beside: tuple[tuple[Any, Any], ...] = (
        (local.get("server"), local.get("token")),
        (context and context.server, context and context.token),
    )
    for server, one in beside:
        if not token and server and normalise_url(str(server)) == chosen:
            token = one
    token = token or logins.get("tokens", {}).get(chosen)
    if not token and running and _is_same_server(chosen, running):
        token = read_home_token(home, role)
    return ClientSettings(url=chosen, token=token or None, source=source)


def store_login(url: str, token: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Keep `token` for the server at `url`, make that server the current one, and return the file.

    Only the user can read the file; it is replaced whole, so a crash leaves the old one.
    """
    logins = _read_logins(environ)
    chosen = normalise_url(url)
    tokens = {**logins.get("tokens", {}), chosen: token}
    path = find_config(environ) / "logins.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, json.dumps({"current": chosen, "tokens": tokens}, indent=1) + "\n")
    return path


def find_authorities(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the file of certificate authorities that servers are checked by; None for the usual ones."""
    return environ.get("P3S_CA_FILE") or None


def list_secret_files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return where this user's tokens may be, in files that need not exist."""
    home, config = find_home(environ), find_config(environ)
    named = environ.get("P3S_TOKEN_FILE")
    found = [home.token_file("admin"), home.token_file("pilot")]
    # What was written last to the database lies beside it.
    found += [home.database.with_name(home.database.name + end) for end in ("", "-wal", "-shm")]
    return [*found, config / "logins.json", config / "config.toml", *([Path(named).absolute()] if named else [])]


def allows_color(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the user's terminal takes colour (see https://no-color.org)."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _is_same_server(chosen: str, running: str) -> bool:
    """Tell whether `chosen` reaches the server at `running`: its address, or a loopback one with its port."""
    if chosen == running:
        return True
    here, there = urlsplit(chosen), urlsplit(running)
    default = {"http": 80, "https": 443}
    ports = here.port or default[here.scheme], there.port or default[there.scheme]
    return is_loopback(chosen) and ports[0] == ports[1]


def _read_logins(environ: Mapping[str, str]) -> dict[str, Any]:
    path = find_config(environ) / "logins.json"
    text = read_text(path)
    try:
        found = json.loads(text) if text else {}
        return {"current": found.get("current"), "tokens": dict(found.get("tokens", {}))}
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput([Problem("is damaged; delete it and `p3s login` again", file=str(path))]) from error
