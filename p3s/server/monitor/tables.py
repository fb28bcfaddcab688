"""Tables as values: what their columns are, so that one description is shown, exported as CSV and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import request, url_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

__all__ = ["Column", "Filter", "Table", "make_act", "read_rows"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
        The row's entry, and the field of an export.
    title : str
        Its head; a column without one is exported only.
    kind : str
        How a cell is shown, a macro of ``cells.html``: text, words, id, code, place, state, time, age, due, seconds,
        size, number, params, bar, acts, yes.
    link : str
        Where a cell leads to, with names of the row's entries in braces; ``{link}`` alone is the row's own address.
    is_minor : bool
        Whether a phone leaves it out: the page of the thing has it.
    """

    name: str
    title: str = ""
    kind: str = "text"
    link: str = ""
    is_minor: bool = False

    def make_link(self, row: Mapping[str, Any]) -> str:
        """Return where this row's cell leads to; nothing if an entry that the address needs is empty."""
        if not self.link or row.get(self.name) in {None, ""}:
            return ""
        if self.link == "{link}":
            return str(row["link"])
        return self.link.format_map({name: quote(str(value), safe="") for name, value in row.items()})


@dataclass(frozen=True, slots=True)
class Filter:
    """One field of the form above a table; its value is in the address under its name."""

    name: str
    title: str
    choices: tuple[str, ...] = ()
    hint: str = ""


@dataclass(slots=True)
class Table:
    """Rows and what is said of them.

    Attributes
    ----------
    name : str
        In addresses: ``table=NAME``, and the file name of an export.
    title : str
        Its caption.
    columns : sequence of Column
        From left to right.
    rows : sequence of dict
        By names of columns; what else they hold is for links.
    empty : str
        What is said if there are none.
    next : str or None
        The cursor of the page after this one.
    filters : sequence of Filter
        Of the form above it.
    acts : sequence of (name, title)
        What may be done to the rows that are ticked; those whose entry ``mine`` is true can be.
    more : str
        What leads to the page after this one.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[dict[str, Any]]
    empty: str = "None."
    next: str | None = None
    filters: Sequence[Filter] = field(default_factory=tuple)
    acts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    more: str = "Older"

    @property
    def shown(self) -> list[Column]:
        """The columns that have a head."""
        return [column for column in self.columns if column.title]

    @property
    def exported(self) -> list[Column]:
        """The columns that hold values."""
        return [column for column in self.columns if column.kind not in {"acts", "bar"}]

    @property
    def is_filtered(self) -> bool:
        """Whether the address narrows it."""
        return any(request.args.get(one.name) for one in self.filters)

    def make_address(self, **changes: str | None) -> str:
        """Return this page's own address with other parameters; None takes one away."""
        given = {name: value for name, value in request.args.items() if value and name not in {"format", "table"}}
        given |= {name: value for name, value in changes.items() if value is not None}
        kept = {name: value for name, value in given.items() if changes.get(name, "") is not None}
        assert request.endpoint is not None
        # The page's own parts of the address win over parameters of the same name.
        return url_for(request.endpoint, **(kept | (request.view_args or {})))


def read_rows(items: Sequence[BaseModel]) -> list[dict[str, Any]]:
    """Return views as rows."""
    return [item.model_dump() for item in items]


def make_act(address: str, text: str, sure: str = "", kind: str = "") -> dict[str, str]:
    """Return a button of a row; with `sure` it asks once more."""
    return {"address": address, "text": text, "sure": sure, "kind": kind}
