"""The common form of a result: one JSON line each, and tables made of them."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.targets import find_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Result", "describe_machine", "make_tables", "summarise"]


@dataclass(frozen=True, slots=True)
class Result:
    """One number with its spread.

    Attributes
    ----------
    system : str
        What was measured: ``p3s sqlite``, a peer's name, or ``machine``.
    case : str
        Which case; `benchmarks.cases.CASES` explains each.
    n : int
        Jobs, requests or rows of one repeat.
    repeats : int
        How often it was measured.
    median, min, max : float
        Over the repeats, in `unit`.
    unit : str
        Such as ``ms/job``.
    machine : str
        Where.
    """

    system: str
    case: str
    n: int
    repeats: int
    median: float
    min: float
    max: float
    unit: str
    machine: str

    def to_line(self) -> str:
        """Return the result as one line of JSON."""
        return json.dumps(asdict(self))


def describe_machine() -> str:
    """Return what the numbers depend on, in one line."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def summarise(system: str, case: str, n: int, unit: str, values: Iterable[float]) -> Result:
    """Return the result of some repeats.

    Parameters
    ----------
    system, case, n, unit
        As in `Result`.
    values : iterable of float
        One per repeat.
    """
    numbers = sorted(values)
    middle = statistics.median(numbers)
    return Result(system, case, n, len(numbers), middle, numbers[0], numbers[-1], unit, describe_machine())


def read_results(path: Path) -> Iterator[Result]:
    """Yield the results that a file holds."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield Result(**json.loads(line))


def make_tables(results: Iterable[Result]) -> str:
    """Return Markdown: one table per case, the best system first."""
    by_case: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        by_case[result.case, result.unit].append(result)
    parts = []
    for (case, unit), rows in by_case.items():
        is_rate = unit.endswith("/s")
        rows.sort(key=lambda row: -row.median if is_rate else row.median)
        target = find_target(case, unit)
        lines = [
            f"### {case} ({unit})",
            "",
            *([target, ""] if target else []),
            "| system | median | min | max | n | repeats |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row.system} | {_show(row.median)} | {_show(row.min)} | {_show(row.max)} | {row.n} | {row.repeats} |"
            for row in rows
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _show(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
