"""Whatever a user can set, call, type or write is documented."""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from p3s import settings
from p3s.cli.tree import COMMANDS, GROUPS
from p3s.engine.fates import Fate
from p3s.engine.load import is_standalone, load_dag, load_standalone
from p3s.engine.notices import Kind
from p3s.engine.sites import SiteSpec
from p3s.engine.spec import make_schema
from p3s.engine.states import AttemptState, DatasetState, JobState, PilotState, Reason, Signal, WorkflowState
from p3s.inject.rules import GroupSpec, RuleSpec, RulesSpec
from p3s.notify.rules import ChannelSpec, MailSpec, NotifySpec, SecretSpec
from p3s.pilot import launch
from p3s.server.auth import NEEDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

ENUMS = [JobState, AttemptState, DatasetState, WorkflowState, PilotState, Signal, Reason]
#: Commands that a text makes up to show how one is made.
FUTURE = {"CONTRIBUTING.md": {"workflow rename"}}
#: A file of the repository, named in a text.
NAMED = re.compile(r"(?<![\w/~.-])(?:p3s|tests|workflows|docs|benchmarks)/[\w/.-]+\.(?:py|md|yaml|json)\b")


def load_maker(name: str) -> Any:
    """Import a module of the documentation's own extension."""
    if str(DOCS) not in sys.path:
        sys.path.insert(0, str(DOCS))
    return importlib.import_module(f"_ext.{name}")


def read_page(name: str) -> str:
    """Return a page as its readers see it."""
    return str(load_maker("reference").fill_page((DOCS / name).read_text()))


def list_first_cells(text: str) -> set[str]:
    """Return the first cell of each row of the table that `text` begins with, without its head."""
    rows = text.strip().split("\n\n")[0].splitlines()[2:]
    return {row.split("|")[1].strip().strip("`") for row in rows}


@pytest.mark.parametrize("model", sorted(set(make_schema()["$defs"])))
def test_every_key_of_a_workflow_file_is_documented(model):
    """The tables of the guide have exactly the keys that a file may hold."""
    text = (DOCS / "guide/workflows.md").read_text()
    head = f"<!-- keys: {model} -->"
    assert head in text, f"docs/guide/workflows.md has no table of {model}"
    assert list_first_cells(text.split(head)[1]) == set(make_schema()["$defs"][model].get("properties", {}))


@pytest.mark.parametrize("model", [RulesSpec, RuleSpec, GroupSpec], ids=lambda one: one.__name__)
def test_every_key_of_a_file_of_rules_is_documented(model):
    """The tables of the page on arrival have exactly the keys that a file of rules may hold."""
    text = (DOCS / "guide/arrival.md").read_text()
    keys = {field.alias or name for name, field in model.model_fields.items()}
    assert list_first_cells(text.split(f"<!-- keys: {model.__name__} -->")[1]) == keys


def test_every_key_of_a_site_is_documented():
    """The table of the page on operating has exactly the keys that a site may have."""
    text = (DOCS / "guide/operating.md").read_text()
    assert list_first_cells(text.split("<!-- keys: SiteSpec -->")[1]) == set(SiteSpec.model_fields)


@pytest.mark.parametrize("model", [NotifySpec, ChannelSpec, MailSpec, SecretSpec], ids=lambda one: one.__name__)
def test_every_key_of_a_file_of_notifications_is_documented(model):
    """The tables of the page on notifications have exactly the keys that such a file may hold, and all kinds."""
    text = (DOCS / "guide/notifications.md").read_text()
    keys = {field.alias or name for name, field in model.model_fields.items()}
    assert list_first_cells(text.split(f"<!-- keys: {model.__name__} -->")[1]) == keys
    assert list_first_cells(text.split("## What is told")[1]) == set(Kind)


def test_every_fate_is_documented():
    """The page on arrival has each fate."""
    text = (DOCS / "guide/arrival.md").read_text()
    assert list_first_cells(text.split("what became of the work.\n")[1]) == set(Fate)


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_and_option_is_documented(path):
    """Each command has its section with each of its options, and no option is without a meaning."""
    page = read_page("reference/commands.md")
    section = re.split(rf"^##+ p3s {path}$", page, flags=re.MULTILINE)[1].split("\n## ")[0].split("\n### ")[0]
    context = load_maker("commands").find_command(path)
    for option in context.command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, f"{path}: {option.opts} has no help"
            assert option.opts[-1] in section
    for argument in context.command.params:
        if isinstance(argument, click.Argument):
            assert argument.make_metavar(context).strip("[]{}.") in section


def test_every_route_is_documented():
    """Each route is in the table with who may use it and what it does."""
    page = read_page("reference/http.md")
    seen = set()
    for method, rule, endpoint in load_maker("routes").list_routes():
        row = re.search(rf"^\| `{method} {re.escape(rule)}` \| (.+?) \| (.+?) \|$", page, flags=re.MULTILINE)
        assert row is not None, f"{method} {rule} is not documented"
        seen.add(endpoint)
    assert seen == set(NEEDS)


def test_every_list_filter_is_documented():
    """The query parameters that routes read are on the page of the API."""
    page = read_page("reference/http.md")
    source = "".join(path.read_text() for path in (ROOT / "p3s/server/api").glob("*.py"))
    read = set(re.findall(r"(?:read_text|args\.get)\(\"(\w+)\"\)", source))
    assert read, "the routes read no query parameters any more; change this test"
    assert {name for name in read if f"`{name}" not in page} == set()


def test_every_server_setting_is_documented():
    """The table of server settings has each field with its value."""
    page = read_page("reference/settings.md")
    for entry in dataclasses.fields(settings.ServerSettings):
        value = "—" if entry.default is dataclasses.MISSING else str(entry.default)
        assert f"| `{entry.name}` | {value} |" in page


def test_every_variable_is_documented():
    """Each environment variable that settings read is on their page, and each that payloads get on the pilots'."""
    source = "".join(path.read_text() for path in Path(settings.__file__).parent.glob("*.py"))
    read = set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z0-9_]+)\"", source))
    assert {"P3S_HOME", "P3S_SERVER", "P3S_TOKEN", "P3S_DATABASE"} <= read
    assert read <= list_first_cells(read_page("reference/settings.md").split("## Environment")[1])
    given = set(re.findall(r"\b(P3S_[A-Z_]*[A-Z])\b", Path(launch.__file__).read_text()))
    assert given <= list_first_cells(read_page("guide/pilots.md").split("what p3s sets itself:")[1])


def test_only_settings_read_the_environment():
    """No other module of p3s reads a variable of p3s, so the page of settings is the whole of them."""
    for path in (ROOT / "p3s").rglob("*.py"):
        if path.parent != Path(settings.__file__).parent:
            found = re.findall(r"environ(?:\.get\(|\[)\"(P3S_\w+)\"", path.read_text())
            assert not found, f"{path} reads {found}"


@pytest.mark.parametrize("words", ENUMS, ids=lambda one: one.__name__)
def test_every_state_is_documented(words):
    """The page of states, made from the tables, has each state, signal and reason."""
    page = read_page("reference/states.md")
    assert [word for word in words if f"**{word}**" not in page and f"`{word}`" not in page] == []


def test_every_exit_code_is_documented():
    """The pilots' page has each exit code."""
    from p3s.pilot import exits

    codes = {str(getattr(exits, name)) for name in exits.__all__}
    assert codes == list_first_cells(read_page("guide/pilots.md").split("## Exit codes")[1])


def test_files_named_in_texts_exist():
    """Every file of the repository that a text names, or links to, is there."""
    for page in TEXTS:
        text = page.read_text()
        for name in NAMED.findall(text):
            base = ROOT if (ROOT / name).exists() else page.parent
            assert (base / name).exists(), f"{page.name} names {name}"
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_tests_named_in_texts_exist():
    """Every test that a text names is there."""
    for page in TEXTS:
        for name, test in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text()):
            assert f"def {test}(" in (ROOT / name).read_text(), f"{page.name} names {name}::{test}"


def test_commands_named_in_texts_exist():
    """Whatever a text calls `p3s WORD ...` is a command or a group of commands."""
    for page in TEXTS:
        text = page.read_text()
        plain = "\n".join(re.findall(r"^```text\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
        named = re.findall(r"(?:`|\$ |&& |; )p3s ([a-z][a-z ]*[a-z])\b", text)
        named += re.findall(r"^p3s ([a-z]+(?: [a-z]+)*)", plain, flags=re.MULTILINE)
        for words in set(named) - FUTURE.get(page.name, set()):
            parts = words.split()
            starts = {" ".join(parts[:count]) for count in range(1, len(parts) + 1)}
            assert starts & {*COMMANDS, *GROUPS}, f"{page.name} names `p3s {words}`"


def test_options_named_in_texts_exist():
    """Whatever option a text gives to a command in one piece of code is one of that command."""
    find_command = load_maker("commands").find_command
    for page in TEXTS:
        if page.name in FUTURE:
            continue
        for code in re.findall(r"`p3s ([^`\n]+)`", page.read_text()):
            # What comes after `;`, `|` and the like is another command.
            words = re.split(r"[;|&>]", code)[0].split()
            path = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
            path = " ".join(words[:3]) if " ".join(words[:3]) in COMMANDS else path
            if path not in COMMANDS:
                continue
            known = {
                name for option in find_command(path).command.params for name in (*option.opts, *option.secondary_opts)
            }
            given = re.findall(r"(?<![\w'-])(--?[A-Za-z][\w-]*)", " ".join(words[len(path.split()) :]).split("'")[0])
            assert set(given) <= known | {"--help", "-h"}, f"{page.name} names `p3s {code}`"


def test_yaml_of_the_guide_loads():
    """The files that the guide shows are sound."""
    blocks = re.findall(
        r"^```yaml\n(.*?)^```$", (DOCS / "guide/workflows.md").read_text(), flags=re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 3
    for text in blocks:
        loaded = load_standalone(text, "guide") if is_standalone(text, "guide") else load_dag(text, "guide")
        assert loaded.name


def test_every_promise_names_its_tests():
    """Each of the twelve promises of the design names at least one test file."""
    text = (DOCS / "design.md").read_text().split("## Promises")[1].split("\n## ")[0]
    promises = re.split(r"^\*\*(\d+)\. ", text, flags=re.MULTILINE)[1:]
    assert promises[::2] == [str(number) for number in range(1, 13)]
    assert all("(../tests/" in promise for promise in promises[1::2])


def test_every_decision_has_its_parts():
    """A decision has context, decision, consequences and rejected ideas, and stands in the index."""
    index = (DOCS / "adr/index.md").read_text()
    for path in sorted((DOCS / "adr").glob("0*.md")):
        heads = re.findall(r"^## (.+)$", path.read_text(), flags=re.MULTILINE)
        assert heads == ["Context", "Decision", "Consequences", "Rejected ideas"], path.name
        assert path.stem in index


def test_the_page_for_those_who_come_from_the_original_names_what_is_there():
    """Each command on the page exists, with each of the long options that stand beside it."""
    page = (DOCS / "guide/original.md").read_text()
    named = re.findall(r"`p3s ([^`]+)`", page)
    assert len(named) > 30
    for text in named:
        words = text.split()
        path = next((" ".join(words[:end]) for end in (3, 2, 1) if " ".join(words[:end]) in COMMANDS), None)
        assert path is not None, f"`p3s {text}` is no command"
        params = load_maker("commands").find_command(path).command.params
        there = {option for param in params for option in param.opts}
        wanted = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert wanted <= there, f"`p3s {text}`: no option {sorted(wanted - there)}"
