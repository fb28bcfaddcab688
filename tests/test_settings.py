"""Where settings come from, and where tokens may go."""

from __future__ import annotations

import doctest
import json
import stat
from pathlib import Path

import pytest

from p3s import settings
from p3s.errors import BadInput
from p3s.settings import (
    Home,
    find_database,
    make_local_environ,
    normalise_url,
    read_client_settings,
    store_login,
)


@pytest.fixture
def environ(tmp_path):
    """Return an environment that knows nothing of this machine."""
    return {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "P3S_HOME": str(tmp_path / "home"),
    }


def write_home(environ, url="http://127.0.0.1:8440", token="home-token"):
    home = Home(Path(environ["P3S_HOME"]))
    home.path.mkdir(exist_ok=True)
    home.server_file.write_text(json.dumps({"url": url, "pid": 1}))
    for role in ("admin", "pilot"):
        home.token_file(role).write_text(f"{role}-{token}\n")
    return home


def read(environ, tmp_path, url=None, **given):
    return read_client_settings(url, environ=environ, folder=tmp_path / "here", **given)


def test_doctests_hold():
    """The examples in the docstrings hold."""
    assert doctest.testmod(settings).failed == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://Farm:8440/", "http://farm:8440"),
        ("farm:8440", "http://farm:8440"),
        ("https://farm:443", "https://farm"),
        ("http://[::1]:8440", "http://[::1]:8440"),
        ("https://farm/p3s/", "https://farm/p3s"),
    ],
)
def test_addresses_have_one_spelling(given, expected):
    """An address is spelt in one way, however it is written."""
    assert normalise_url(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ftp://farm",
        "http://",
        "http://farm:port",
        "http://user:pw@farm",
        "http://farm?x=1",
        "http://farm:99999",
    ],
)
def test_what_is_no_address_is_refused(given):
    """What is no http address, or carries more than an address, is refused."""
    with pytest.raises(BadInput):
        normalise_url(given)


def test_a_bad_address_does_not_show_its_password():
    """A password in an address does not appear in the message."""
    with pytest.raises(BadInput) as caught:
        normalise_url("http://user:hunter2@farm")
    assert "hunter2" not in str(caught.value)


def test_nothing_known_gives_the_default_without_a_token(environ, tmp_path):
    """With no settings at all, the default address is used, without a token."""
    found = read(environ, tmp_path)
    assert (found.url, found.token, found.source) == ("http://127.0.0.1:8440", None, "the default")


def test_the_first_source_wins(environ, tmp_path):
    """Option, environment, p3s.toml, config file, login, home folder: the first that names a server wins."""
    (tmp_path / "here").mkdir()
    write_home(environ, "http://127.0.0.1:9001")
    assert read(environ, tmp_path).url == "http://127.0.0.1:9001"
    store_login("http://login", "t", environ)
    assert read(environ, tmp_path).url == "http://login"
    config = tmp_path / "config" / "p3s" / "config.toml"
    config.write_text('context = "farm"\n[contexts.farm]\nserver = "http://context"\n')
    assert read(environ, tmp_path).url == "http://context"
    (tmp_path / "here" / "p3s.toml").write_text('server = "http://local"\n')
    assert read(environ, tmp_path).url == "http://local"
    environ["P3S_SERVER"] = "http://environment"
    assert read(environ, tmp_path).url == "http://environment"
    assert read(environ, tmp_path, "http://option").url == "http://option"


def test_the_home_token_goes_to_the_server_of_the_home(environ, tmp_path):
    """The token of the home folder goes to the server that runs there, by whichever loopback name."""
    write_home(environ)
    assert read(environ, tmp_path).token == "admin-home-token"
    assert read(environ, tmp_path, role="pilot").token == "pilot-home-token"
    assert read(environ, tmp_path, "http://localhost:8440").token == "admin-home-token"


@pytest.mark.parametrize(
    "url",
    [
        "http://farm:8440",
        "http://127.0.0.1:8441",
        "https://127.0.0.1.example.org:8440",
        "http://10.0.0.1:8440",
    ],
)
def test_the_home_token_goes_nowhere_else(environ, tmp_path, url):
    """The token of the home folder is not sent to another host or port."""
    write_home(environ)
    assert read(environ, tmp_path, url).token is None


def test_the_home_token_stays_where_no_server_runs(environ, tmp_path):
    """Where no server runs in the home folder, its token is sent to nobody, not even to the default address."""
    home = write_home(environ)
    home.server_file.unlink()
    assert read(environ, tmp_path).token is None


def test_a_login_goes_to_its_own_address_only(environ, tmp_path):
    """A stored token goes to the address it was stored for, and to no other."""
    store_login("https://farm/", "one", environ)
    store_login("https://other", "two", environ)
    assert read(environ, tmp_path).token == "two"
    assert read(environ, tmp_path, "https://FARM").token == "one"
    assert read(environ, tmp_path, "https://third").token is None
    assert read(environ, tmp_path, "http://farm").token is None


def test_a_login_is_readable_by_its_user_only(environ):
    """The file with tokens has mode 0600."""
    path = store_login("https://farm", "secret", environ)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_config_token_goes_to_the_server_beside_it(environ, tmp_path):
    """A token in p3s.toml goes to the server that the same file names only."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "p3s.toml").write_text('server = "http://local"\ntoken = "local-token"\n')
    assert read(environ, tmp_path).token == "local-token"
    assert read(environ, tmp_path, "http://elsewhere").token is None


def test_a_token_in_the_environment_goes_to_the_chosen_server(environ, tmp_path):
    """P3S_TOKEN, else the file that P3S_TOKEN_FILE names, goes to whichever server was chosen."""
    (tmp_path / "token").write_text("from-file\n")
    environ["P3S_TOKEN_FILE"] = str(tmp_path / "token")
    assert read(environ, tmp_path, "http://any").token == "from-file"
    environ["P3S_TOKEN"] = "direct"
    assert read(environ, tmp_path, "http://any").token == "direct"


def test_a_context_that_is_not_there_is_an_error(environ, tmp_path):
    """Neither a misspelt P3S_CONTEXT nor a stale line of the file leads to another server."""
    folder = tmp_path / "config" / "p3s"
    folder.mkdir(parents=True)
    text = '[contexts.farm]\nserver = "http://farm"\ntoken = "secret"\n'
    (folder / "config.toml").write_text(f'context = "frm"\n{text}')
    with pytest.raises(BadInput, match=r"names context 'frm', and .* has farm"):
        read(environ, tmp_path)
    environ["P3S_CONTEXT"] = "farm"
    assert (read(environ, tmp_path).url, read(environ, tmp_path).token) == ("http://farm", "secret")
    environ["P3S_CONTEXT"] = "far"
    with pytest.raises(BadInput, match="P3S_CONTEXT names context 'far'"):
        read(environ, tmp_path)


def test_a_token_is_not_shown(environ, tmp_path):
    """The settings' repr has no token."""
    environ["P3S_TOKEN"] = "hunter2"
    assert "hunter2" not in repr(read(environ, tmp_path))


@pytest.mark.parametrize("name", ["server.json", "p3s.toml", "logins.json", "config.toml"])
def test_a_damaged_file_is_named(environ, tmp_path, name):
    """A file that cannot be read is named, with what to do about it."""
    write_home(environ)
    folder = {
        "server.json": tmp_path / "home",
        "p3s.toml": tmp_path / "here",
        "logins.json": tmp_path / "config" / "p3s",
        "config.toml": tmp_path / "config" / "p3s",
    }[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("[[[ no such thing")
    with pytest.raises(BadInput, match=name):
        read(environ, tmp_path)


def test_a_local_child_knows_its_home_only(environ):
    """A server or pilot of a home is given no token and no other server."""
    given = {**environ, "P3S_TOKEN": "t", "P3S_SERVER": "http://x", "P3S_CONTEXT": "c", "PATH": "/bin"}
    made = make_local_environ(Home(Path("/elsewhere")), given)
    assert made["P3S_HOME"] == "/elsewhere"
    assert made["PATH"] == "/bin"
    assert not {"P3S_TOKEN", "P3S_SERVER", "P3S_CONTEXT"} & made.keys()


def test_the_database_is_the_option_the_environment_or_the_home(environ):
    """The database is what the option says, else P3S_DATABASE, else a file in the home folder."""
    assert find_database(None, environ) == str(Path(environ["P3S_HOME"]) / "p3s.sqlite")
    environ["P3S_DATABASE"] = "postgresql://db/p3s"
    assert find_database(None, environ) == "postgresql://db/p3s"
    assert find_database("x.sqlite", environ) == "x.sqlite"
