"""What others wrote cannot give orders to the terminal of whoever looks at it."""

from __future__ import annotations

import json

import pytest

from p3s.cli.main import run_command
from p3s.cli.output import clean_output, print_items, print_json, print_line, tell

#: Clear the screen, set the title, the one-character form of the first, a mark that turns the order of letters.
ORDERS = "a\x1b[2J\x1b]0;x\x07\x9b2J\u202eb"


def test_remarks_show_orders(capsys):
    """Remarks keep their lines, and nothing else that is no text."""
    tell(f"one\n{ORDERS}")
    said = capsys.readouterr().err
    assert said.startswith("one\na\\x1b[2J")
    assert all(char.isprintable() or char == "\n" for char in said)


def test_errors_show_orders(capsys):
    """A message of an error that repeats what was given is clean, too."""
    assert run_command(["workflow", ORDERS]) == 64
    said = capsys.readouterr().err
    assert "\\x1b" in said
    assert all(char.isprintable() or char == "\n" for char in said)


@pytest.mark.parametrize("show", [print_json, print_line])
def test_json_escapes_orders(capsys, show):
    """JSON has the same value without a character that a terminal obeys."""
    show({"name": ORDERS, "word": "température"})
    said = capsys.readouterr().out
    assert json.loads(said) == {"name": ORDERS, "word": "température"}
    assert "température" in said
    assert all(char.isprintable() or char == "\n" for char in said)


def test_ids_show_orders(capsys):
    """Names that -q prints are one line each, whatever they are."""
    print_items([ORDERS], {}, noun="hosts", as_json=False, quiet=True, ident=str)
    assert "\x1b" not in capsys.readouterr().out


def test_output_of_payloads_keeps_its_colours():
    """On a terminal, output keeps colours, tabs and line ends, and loses all other orders."""
    assert clean_output("\x1b[1;31mred\x1b[m\t\r\n") == "\x1b[1;31mred\x1b[m\t\r\n"
    assert "\x1b" not in clean_output(ORDERS + "\x1b[6n\x1b[")
