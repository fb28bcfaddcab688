"""Several servers by name: which of them commands use, in the user's config file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.acceptance.support import call

if TYPE_CHECKING:
    from tests.support.servers import System

CONFIG = """\
# Mine.
[contexts.here]
server = "%s"  # this one

[contexts.far]
server = "https://far.example.org"
token = "secret-word"
"""


def test_a_context_is_chosen_and_used(system: System):
    """The choice is one line of the file, all else stays; commands then go to that server, unless told otherwise."""
    path = system.folder / ".config/p3s/config.toml"
    env = {"P3S_SERVER": ""}
    assert f"[contexts.NAME] with `server` in {path}" in call(system, "context", "list", env=env).stderr
    call(system, "context", "use", "here", check=5, env=env)
    path.parent.mkdir(parents=True)
    path.write_text(CONFIG % system.url)
    for name in ("far", "here"):
        assert call(system, "context", "use", name, env=env).stdout == f"{name}\n"
    assert path.read_text() == 'context = "here"\n' + CONFIG % system.url
    listed = call(system, "context", "list", env=env).stdout
    assert f"*     here  {system.url}" in listed
    assert "secret-word" not in listed
    token = {"P3S_TOKEN_FILE": str(system.home / "admin.token"), "P3S_HOME": str(system.folder / "none")}
    assert system.url in call(system, "status", env=env | token).stdout
    assert "P3S_CONTEXT is set" in call(system, "context", "use", "here", env=env | {"P3S_CONTEXT": "far"}).stderr
    shown = json.loads(call(system, "context", "list", "--json", env=env).stdout)
    assert [item["name"] for item in shown if item["used"]] == ["here"]
    assert "far, here" in call(system, "context", "use", "her", check=5, env=env).stderr
    assert "name one that it has" in call(system, "status", check=64, env=env | {"P3S_CONTEXT": "her"}).stderr
    call(system, "context", "use", "--none", env=env)
    assert [item["used"] for item in json.loads(call(system, "context", "list", "--json").stdout)] == [False, False]


def test_a_bad_config_file_lists_all_and_is_left_alone(system: System):
    """Each wrong context is told with the file; a line that cannot be changed alone is left to its author."""
    path = system.folder / ".config/p3s/config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[contexts]\na = 1\nb = {srver = "x"}\n')
    said = call(system, "context", "list", check=64).stderr
    assert [word in said for word in ("'a' must be a table", "unknown key 'srver'", "'b' needs `server`")] == [True] * 3
    text = 'context = """\nx"""\n[contexts.x]\nserver = "http://x"\n'
    path.write_text(text)
    assert 'write `context = "x"` at its top' in call(system, "context", "use", "x", check=64).stderr
    assert path.read_text() == text
