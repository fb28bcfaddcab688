"""How single values are written: durations, sizes, text, and the shorthands of larger ones."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

__all__ = [
    "Duration",
    "Shorthand",
    "Size",
    "Text",
    "parse_axis",
    "parse_duration",
    "parse_env_value",
    "parse_size",
    "refuse",
    "to_mapping",
    "to_text",
]

#: No duration is longer, so that sums of durations stay finite.
MAX_DURATION = 10 * 366 * 86400.0
#: No size is larger: what a signed 64 bit column holds.
MAX_SIZE = 2**63 - 1

_NUMBER = r"\d{1,15}(?:\.\d{1,9})?"
_DURATION = re.compile(rf"(?:({_NUMBER})d)?(?:({_NUMBER})h)?(?:({_NUMBER})m)?(?:({_NUMBER})s)?", re.ASCII)
_PLAIN = re.compile(_NUMBER, re.ASCII)
_SIZE = re.compile(rf"({_NUMBER})\s?([kKMGT]?)(i?)B?", re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def refuse(message: str) -> NoReturn:
    """Raise a validation error with exactly this message."""
    raise PydanticCustomError("p3s", "{text}", {"text": message})


def parse_duration(value: Any) -> float:
    """Return seconds from ``90s``, ``10m``, ``1h30m``, ``2d`` or plain seconds.

    Parameters
    ----------
    value : str or number
        What was written.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    PydanticCustomError
        If it is no duration.

    Examples
    --------
    >>> parse_duration("1h30m"), parse_duration("90"), parse_duration(2.5)
    (5400.0, 90.0, 2.5)
    """
    seconds = -1.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        # A huge integer has no float; it is too long in any case.
        seconds = float(value) if abs(value) <= MAX_DURATION else math.inf
    elif isinstance(value, str) and _PLAIN.fullmatch(value):
        seconds = float(value)
    elif isinstance(value, str) and value and (match := _DURATION.fullmatch(value)):
        units = (86400.0, 3600.0, 60.0, 1.0)
        seconds = sum(float(text or 0) * unit for text, unit in zip(match.groups(), units, strict=True))
    if not seconds >= 0:
        refuse(f"'{shorten(value)}' is no duration; write 90s, 10m, 1h30m, 2d or plain seconds")
    if seconds > MAX_DURATION:
        refuse(f"'{shorten(value)}' is longer than ten years")
    return seconds


def parse_size(value: Any) -> int:
    """Return bytes from ``1GB``, ``512MiB`` or plain bytes.

    Parameters
    ----------
    value : str or int
        What was written; kB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB of 1024.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    PydanticCustomError
        If it is no size.

    Examples
    --------
    >>> parse_size("1GB"), parse_size("512MiB"), parse_size("10")
    (1000000000, 536870912, 10)
    """
    size: float = -1
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        number, prefix, binary = match.groups()
        if prefix or not binary:
            size = float(number) if "." in number else int(number)
            size *= (1024 if binary else 1000) ** _POWERS[prefix.upper()]
    if not 0 <= size <= MAX_SIZE:
        refuse(f"'{shorten(value)}' is no size; write 512MB, 1GB, 2GiB or plain bytes")
    return int(size)


def to_text(value: Any) -> str:
    """Return a scalar as text; numbers and truth values appear when a body came as JSON.

    Parameters
    ----------
    value : str, int, float or bool
        What was written.

    Returns
    -------
    str
        Its text.

    Raises
    ------
    PydanticCustomError
        If it is a list, a mapping or nothing.

    Examples
    --------
    >>> to_text("004610"), to_text(True), to_text(3)
    ('004610', 'true', '3')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        # Digits of huge integers cost quadratic time, and Python refuses them with an error of its own.
        if isinstance(value, int) and abs(value) > 10**1000:
            refuse("this number is too long")
        return str(value)
    return refuse(f"must be text, is {describe(value)}")


def to_mapping(value: Any, default: Any) -> Any:
    """Return a list of words, or a single word, as a mapping from each word to `default`.

    Parameters
    ----------
    value : object
        What was written; all but words and lists of words is returned as it is.
    default : object
        The value of each word.

    Returns
    -------
    object
        The mapping.

    Examples
    --------
    >>> to_mapping(["raw", "hits"], None)
    {'raw': None, 'hits': None}
    """
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return value
    words: dict[str, Any] = {}
    for item in value:
        if not isinstance(item, str):
            refuse(f"its items must be names, one is {describe(item)}")
        if item in words:
            refuse(f"names '{item}' twice")
        words[item] = default
    return words


def parse_env_value(value: Any) -> str | dict[str, str]:
    """Return the text of a variable, or ``{"secret": NAME}``.

    Parameters
    ----------
    value : object
        What was written; nothing is the empty text.

    Returns
    -------
    str or dict
        The value.

    Raises
    ------
    PydanticCustomError
        If it is something else.

    Examples
    --------
    >>> parse_env_value(None), parse_env_value({"secret": "db"})
    ('', {'secret': 'db'})
    """
    if isinstance(value, dict):
        name = value.get("secret")
        if len(value) != 1 or not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
            refuse("must be text or `{secret: NAME}` with a name of letters, digits, '_', '.' and '-'")
        return {"secret": name}
    return "" if value is None else to_text(value)


def parse_axis(value: Any) -> tuple[str, ...] | dict[str, str]:
    """Return the values of an axis, or ``{"each": NAME}``.

    Parameters
    ----------
    value : list, tuple or dict
        What was written.

    Returns
    -------
    tuple of str, or dict
        Values as text, or the name of an external collection.

    Raises
    ------
    PydanticCustomError
        If it is neither, empty, or names a value twice.

    Examples
    --------
    >>> parse_axis(["u", "v"]), parse_axis({"each": "raw"})
    (('u', 'v'), {'each': 'raw'})
    """
    if isinstance(value, dict):
        if value.keys() != {"each"} or not isinstance(value["each"], str):
            refuse("must be a list of values or `{each: DATASET}`")
        return {"each": value["each"]}
    if not isinstance(value, list | tuple):
        refuse(f"must be a list of values or `{{each: DATASET}}`, is {describe(value)}")
    if not value:
        refuse("has no values")
    texts = tuple(to_text(item) for item in value)
    if len(set(texts)) < len(texts):
        seen: set[str] = set()
        twice = next(text for text in texts if text in seen or seen.add(text))  # type: ignore[func-returns-value]
        refuse(f"has the value '{shorten(twice)}' twice")
    return texts


def describe(value: Any) -> str:
    """Return a few words for what kind of thing `value` is."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return "empty" if value is None else f"'{shorten(value)}'"


def shorten(value: Any, width: int = 60) -> str:
    """Return `value` on one line of at most `width` characters."""
    if isinstance(value, dict | list | tuple):
        # It is not printed whole before it is cut: it may be huge.
        return describe(value)
    if isinstance(value, int) and abs(value) >= 10**width:
        # Python refuses to print the very long ones.
        return "a number with many digits"
    text = value if isinstance(value, str) else str(value)
    text = text[: width + 1].replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
    return text if len(text) <= width else text[: width - 3] + "..."


class Shorthand:
    """Marks a type that may also be written in shorter forms.

    Parameters
    ----------
    normalise : callable
        Turns a short form into the full one, and leaves the full one alone.
    *forms : dict
        JSON Schemas of the short forms.
    replace : bool
        Whether `normalise` does all the validation, and `forms` is all of the schema.
    """

    def __init__(self, normalise: Callable[[Any], Any], *forms: dict[str, Any], replace: bool = False) -> None:
        self.normalise, self.forms, self.replace = normalise, forms, replace

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Put `normalise` before, or in the place of, the type's own validation."""
        if self.replace:
            return core_schema.no_info_plain_validator_function(self.normalise)
        return core_schema.no_info_before_validator_function(self.normalise, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the full form and the short ones."""
        full = [] if self.replace else [handler(schema)]
        return {"anyOf": [*full, *self.forms]}


#: Text; a body that came as JSON may also hold numbers and truth values.
Text = Annotated[str, BeforeValidator(to_text), WithJsonSchema({"type": ["string", "number", "boolean"]})]
#: Seconds.
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": ["number", "string"], "examples": ["90s", "10m", "1h30m"]}),
]
#: Bytes.
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["512MB", "1GB", "2GiB"]}),
]
