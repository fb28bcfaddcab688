"""Options of ``p3s pilot start`` that protect the pilot's host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from p3s.cli.common import parse_pairs
from p3s.engine.places import is_url, normalise_place
from p3s.engine.units import parse_size
from p3s.pilot.protect import LIMITS, Protection
from p3s.settings import list_secret_files

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["add_protection_options", "make_protection"]

F = TypeVar("F", bound="Callable[..., Any]")

_OPTIONS = (
    click.option(
        "--accept-payload",
        "payloads",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Run only executables below this folder, and no scripts; repeatable.",
    ),
    click.option(
        "--accept-publish",
        "published",
        multiple=True,
        metavar="FOLDER|URL",
        help="Publish only below this folder or URL; repeatable. With --isolate or --accept-payload, else nowhere.",
    ),
    click.option("--clean-env", "clean", is_flag=True, help="Give payloads none of the pilot's variables but a few."),
    click.option("--pass-env", "passed", multiple=True, metavar="NAME", help="Give them this one, too; repeatable."),
    click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="NAME=VALUE",
        help=f"Bound each payload: {', '.join(LIMITS)}; repeatable.",
    ),
    click.option("--enforce", is_flag=True, help="Bound address space and CPU time by what the job asks for."),
    click.option("--umask", metavar="OCTAL", help="The umask of payloads, such as 027; else the pilot's."),
    click.option(
        "--isolate", is_flag=True, help="Run payloads under bubblewrap: they write in their own folders only."
    ),
)


def add_protection_options(function: F) -> F:
    """Give a command the options that protect its host."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def make_protection(
    *,
    payloads: tuple[Path, ...],
    published: tuple[str, ...],
    passed: tuple[str, ...],
    limits: tuple[str, ...],
    umask: str | None,
    clean: bool,
    enforce: bool,
    isolate: bool,
    secrets: Path | None,
) -> Protection:
    """Return what the options ask for.

    Raises
    ------
    click.UsageError
        If one makes no sense.
    """
    if passed and not clean:
        raise click.UsageError("--pass-env goes with --clean-env; without it payloads get all variables")
    return Protection(
        payloads=tuple(path.absolute() for path in payloads),
        published=tuple(Path(place).absolute() for place in published if not is_url(place)),
        stores=tuple(normalise_place(place).rstrip("/") for place in published if is_url(place)),
        clean=clean,
        passed=passed,
        limits=_parse_limits(limits),
        enforce=enforce,
        umask=_parse_umask(umask),
        isolate=isolate,
        hidden=(*list_secret_files(), *([secrets.absolute()] if secrets else [])),
    )


def _parse_limits(pairs: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, text in parse_pairs(pairs, "--limit").items():
        if name not in LIMITS:
            raise click.UsageError(f"--limit {name} is none of {', '.join(LIMITS)}")
        try:
            found[name] = int(parse_size(text))
        except ValueError as error:
            raise click.UsageError(f"--limit {name}={text}: give a number, or a size such as 10GB") from error
    return found


def _parse_umask(text: str | None) -> int | None:
    if text is None:
        return None
    if len(text) not in {3, 4} or any(digit not in "01234567" for digit in text) or int(text, 8) > 0o777:
        raise click.UsageError(f"--umask {text} is none; give three octal digits, such as 027")
    return int(text, 8)
