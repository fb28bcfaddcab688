"""Option values that click does not know: durations and sizes, written as in YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from pydantic_core import PydanticCustomError

from p3s.engine.units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DURATION", "SIZE"]


class Quantity(click.ParamType[float]):
    """A number with a unit.

    Parameters
    ----------
    name : str
        What help calls it.
    parse : function
        Turns the text into a number, or raises.
    """

    def __init__(self, name: str, parse: Callable[[Any], float]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number that `value` stands for."""
        try:
            return self._parse(value)
        except PydanticCustomError as error:
            self.fail(error.message(), param, ctx)


DURATION = Quantity("duration", parse_duration)
SIZE = Quantity("size", parse_size)
