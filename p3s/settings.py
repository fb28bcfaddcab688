"""Every setting, and the only reader of the environment.

Where a value comes from, the first that has one: the option, the environment, ``./p3s.toml``, the user's
config file (with the context in use), the server of the last `p3s login`, what runs in the home folder, the
default.
"""

from __future__ import annotations

import ipaddress
import json
import os
import tempfile
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import platformdirs
from pydantic_core import PydanticCustomError

from p3s.engine.units import parse_duration
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DEFAULT_PORT",
    "ClientSettings",
    "Home",
    "ServerSettings",
    "allows_color",
    "find_config",
    "find_database",
    "find_home",
    "is_loopback",
    "list_secret_files",
    "make_local_environ",
    "normalise_url",
    "read_client_settings",
    "read_counts",
    "read_durations",
    "read_home_token",
    "read_log_settings",
    "read_running",
    "store_login",
    "write_private",
]

#: Where the server listens unless told otherwise.
DEFAULT_PORT = 8440


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of an embedded system: database, tokens, data and logs.

    Attributes
    ----------
    path : Path
        ``P3S_HOME``, or the user's data folder for p3s.
    """

    path: Path

    @property
    def database(self) -> Path:
        """The embedded SQLite database."""
        return self.path / "p3s.sqlite"

    @property
    def server_file(self) -> Path:
        """JSON with ``url`` and ``pid`` of the server that runs here."""
        return self.path / "server.json"

    @property
    def data(self) -> Path:
        """Outputs of local pilots."""
        return self.path / "data"

    @property
    def logs(self) -> Path:
        """Log files of server and pilots."""
        return self.path / "log"

    @property
    def work(self) -> Path:
        """Sandboxes and undelivered results of local pilots."""
        return self.path / "work"

    def token_file(self, role: str) -> Path:
        """Return the file with the token of `role` that the first start made."""
        return self.path / f"{role}.token"


def find_home(environ: Mapping[str, str] = os.environ) -> Home:
    """Return the home folder, which need not exist yet."""
    given = environ.get("P3S_HOME")
    return Home(Path(given).absolute() if given else platformdirs.user_data_path("p3s"))


def find_database(given: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the database's address: the option, ``P3S_DATABASE``, or the file in the home folder."""
    return given or environ.get("P3S_DATABASE") or str(find_home(environ).database)


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
    open_reading: bool = False
    proxies: int = 0
    secure: bool = False


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Whom to talk to, and as whom."""

    url: str
    token: str | None = field(repr=False)
    #: Where `url` came from, for messages.
    source: str = ""


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


def normalise_url(text: str) -> str:
    """Return the one spelling of a server's address, by which stored tokens are found.

    Raises
    ------
    BadInput
        If it is no ``http`` or ``https`` address, or carries a user, a password, a query or a fragment.

    Examples
    --------
    >>> normalise_url("HTTP://Localhost:80/")
    'http://localhost'
    """
    given = text.strip()
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        port = parts.port
    except ValueError as error:
        raise BadInput([f"'{text}' is no server address ({error}); write http://HOST:PORT"]) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadInput([f"'{text}' is no server address; write http://HOST:PORT or https://HOST"])
    if parts.username is not None or parts.query or parts.fragment:
        raise BadInput(["a server address holds no user, query or fragment; write http://HOST:PORT, then `p3s login`"])
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port in {None, {"http": 80, "https": 443}[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Tell whether `url` names this host's loopback interface.

    Examples
    --------
    >>> is_loopback("http://127.0.0.1:8440"), is_loopback("http://127.example.org")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_config(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's config folder for p3s, which need not exist yet."""
    given = environ.get("XDG_CONFIG_HOME")
    return (Path(given) if given else Path(environ.get("HOME") or "~").expanduser() / ".config") / "p3s"


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
        If a config file cannot be read, or the address is none.
    """
    home = find_home(environ)
    local = _read_toml((folder or Path.cwd()) / "p3s.toml")
    user_file = find_config(environ) / "config.toml"
    user = _read_toml(user_file)
    context = user.get("contexts", {}).get(environ.get("P3S_CONTEXT") or user.get("context", ""), {})
    logins = _read_logins(environ)
    running = read_running(home)
    candidates = (
        (url, "--server"),
        (environ.get("P3S_SERVER"), "P3S_SERVER"),
        (local.get("server"), "p3s.toml"),
        (context.get("server"), str(user_file)),
        (logins.get("current"), "p3s login"),
        (running, str(home.server_file)),
        (f"http://127.0.0.1:{DEFAULT_PORT}", "the default"),
    )
    found, source = next((value, source) for value, source in candidates if value)
    chosen = normalise_url(str(found))
    token = environ.get("P3S_TOKEN")
    if not token and environ.get("P3S_TOKEN_FILE"):
        token = _read_text(Path(environ["P3S_TOKEN_FILE"]))
    for config in (local, context):
        if not token and config.get("server") and normalise_url(str(config["server"])) == chosen:
            token = config.get("token")
    token = token or logins.get("tokens", {}).get(chosen)
    if not token and running and _is_same_server(chosen, running):
        token = read_home_token(home, role)
    return ClientSettings(url=chosen, token=token or None, source=source)


def read_home_token(home: Home, role: str) -> str | None:
    """Return the token of `role` that the first start left in `home`; None if there is none."""
    return _read_text(home.token_file(role)) or None


def read_running(home: Home) -> str | None:
    """Return the address of the server that `home` says is running; None if it says none.

    Raises
    ------
    BadInput
        If the file that says so is damaged.
    """
    text = _read_text(home.server_file)
    try:
        return normalise_url(str(json.loads(text)["url"])) if text else None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput([Problem("is damaged; delete it and run `p3s up`", file=str(home.server_file))]) from error


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


def write_private(path: Path, text: str) -> None:
    """Replace the file at `path` by one that only the user can read, whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def list_secret_files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return where this user's tokens may be, in files that need not exist."""
    home, config = find_home(environ), find_config(environ)
    named = environ.get("P3S_TOKEN_FILE")
    found = [home.token_file("admin"), home.token_file("pilot"), home.database]
    return [*found, config / "logins.json", config / "config.toml", *([Path(named).absolute()] if named else [])]


def make_local_environ(home: Home, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for a child that works in `home`: it names no other server and no token."""
    dropped = {"P3S_SERVER", "P3S_TOKEN", "P3S_TOKEN_FILE", "P3S_CONTEXT"}
    return {name: value for name, value in environ.items() if name not in dropped} | {"P3S_HOME": str(home.path)}


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
    text = _read_text(path)
    try:
        found = json.loads(text) if text else {}
        return {"current": found.get("current"), "tokens": dict(found.get("tokens", {}))}
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput([Problem("is damaged; delete it and `p3s login` again", file=str(path))]) from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput([Problem(f"cannot be read ({error}); mend it or move it away", file=str(path))]) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput([Problem(f"cannot be read ({error}); look at its owner and mode", file=str(path))]) from error
