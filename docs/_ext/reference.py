"""Puts references that are made from the code into the pages that ask for them.

A page asks with a comment such as ``<!-- made: states -->``; `MAKERS` says what may be asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from _ext import commands, exits, routes, states

if TYPE_CHECKING:
    from collections.abc import Callable

    from sphinx.application import Sphinx

__all__ = ["MAKERS", "fill_page", "setup"]

#: What a page may ask for, and who makes it.
MAKERS: dict[str, Callable[[], str]] = {
    "commands": commands.make_commands,
    "exits": exits.make_exits,
    "pilot-options": commands.make_pilot_options,
    "routes": routes.make_routes,
    "states": states.make_states,
}

_MARK = re.compile(r"<!-- made: ([a-z-]+) -->")


def fill_page(text: str) -> str:
    """Return a page with its marks replaced.

    Raises
    ------
    KeyError
        If the page asks for something that nobody makes.
    """
    return _MARK.sub(lambda match: MAKERS[match.group(1)](), text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Have Sphinx fill each page as it reads it."""

    def fill(_app: Sphinx, _name: str, source: list[str]) -> None:
        source[0] = fill_page(source[0])

    app.connect("source-read", fill)
    # The pages depend on the code as a whole, so they are read anew each time.
    app.connect("env-get-outdated", lambda _app, env, *_: sorted(env.found_docs))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
