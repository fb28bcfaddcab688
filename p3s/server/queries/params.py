"""Workflows by a param: ``run=4610``."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.server.models import workflow

__all__ = ["matches_param"]


def matches_param(text: str) -> sa.ColumnElement[bool]:
    """Return that a workflow has this param; numbers match whatever zeros they begin with."""
    name, _, value = text.partition("=")
    kept: sa.ColumnElement[str] = workflow.c.params[name.strip()].as_string()
    wanted = value.strip()
    if wanted.isascii() and wanted.isdigit():
        return sa.func.ltrim(kept, "0") == wanted.lstrip("0")
    return kept == wanted
