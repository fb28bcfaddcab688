"""The work, and by hand what it means; and the journal that its payloads keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

FILE = Path(__file__).with_name("chaos.yaml")

#: The parents of each job.
PARENTS: dict[str, frozenset[str]] = {
    "source": frozenset(),
    **{f"part-{number}": frozenset({"source"}) for number in range(6)},
    **{f"check-{number}": frozenset({f"part-{number}"}) for number in range(6)},
    **{f"guard-{number}": frozenset({"source"}) for number in range(3)},
    "whole": frozenset({*(f"check-{number}" for number in range(6)), *(f"guard-{number}" for number in range(3))}),
    "end": frozenset({"whole"}),
}
#: Jobs of one workflow.
SIZE = len(PARENTS)
#: Jobs of which two payloads must never run at the same time.
EXCLUSIVE = frozenset({"guard-0", "guard-1", "guard-2", "whole"})


@dataclass
class Run:
    """One payload as the journal tells it; lines are places in the journal, which is in the order of what happened."""

    job: str
    attempt: str
    first: int
    last: int
    begun: float
    last_seen: float
    ended: int | None = None


@dataclass
class Journal:
    """What payloads wrote."""

    path: Path
    runs: dict[str, Run] = field(default_factory=dict)
    #: Attempts whose payload was started twice.
    repeated: list[str] = field(default_factory=list)

    def read(self) -> None:
        """Read all lines."""
        for number, line in enumerate(self.path.read_text().splitlines()):
            kind, job, attempt, at = line.split()
            moment = float(at.replace(",", "."))
            run = self.runs.get(attempt)
            if run is None:
                assert kind == "start", f"line {number + 1} of the journal: {line}"
                self.runs[attempt] = Run(job, attempt, number, number, moment, moment)
                continue
            if kind == "start":
                self.repeated.append(attempt)
            run.last, run.last_seen = number, moment
            if kind == "end":
                run.ended = number

    def find_overlaps(self) -> list[tuple[Run, Run]]:
        """Return pairs of payloads of one job of which the second began before the first wrote its last line."""
        by_job: dict[str, list[Run]] = {}
        for run in sorted(self.runs.values(), key=lambda one: one.first):
            by_job.setdefault(run.job, []).append(run)
        return [
            (earlier, later)
            for runs in by_job.values()
            for position, later in enumerate(runs)
            for earlier in runs[:position]
            if earlier.last > later.first
        ]
