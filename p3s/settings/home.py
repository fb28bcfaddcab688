"""The folder of an embedded system, and what runs in it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from p3s.errors import BadInput, Problem
from p3s.settings.addresses import normalise_url
from p3s.settings.files import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Home", "find_database", "find_home", "make_local_environ", "read_home_token", "read_running"]


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


def read_home_token(home: Home, role: str) -> str | None:
    """Return the token of `role` that the first start left in `home`; None if there is none."""
    return read_text(home.token_file(role)) or None


def read_running(home: Home) -> str | None:
    """Return the address of the server that `home` says is running; None if it says none.

    Raises
    ------
    BadInput
        If the file that says so is damaged.
    """
    text = read_text(home.server_file)
    try:
        return normalise_url(str(json.loads(text)["url"])) if text else None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput([Problem("is damaged; delete it and run `p3s up`", file=str(home.server_file))]) from error


def make_local_environ(home: Home, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for a child that works in `home`: it names no other server and no token."""
    dropped = {"P3S_SERVER", "P3S_TOKEN", "P3S_TOKEN_FILE", "P3S_CONTEXT"}
    return {name: value for name, value in environ.items() if name not in dropped} | {"P3S_HOME": str(home.path)}
