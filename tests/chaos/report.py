"""What became of it all: the database and the files against the journal, as a table whose zeros must be zero."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import PAYLOAD_REASONS
from p3s.server.models import attempt, dataset, event, job, job_input, pilot, workflow
from tests.chaos.faults import LEASE
from tests.chaos.work import EXCLUSIVE, PARENTS, Journal, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.db import Database
    from tests.chaos.faults import Fault

#: Faults after which a pilot's payload may run on while another pilot runs the same job.
PARTING = {
    "pilot frozen past its lease",
    "network cut",
    "network cut for all",
    "server frozen past a lease",
    "server worker killed",
}


@dataclass
class Table:
    """Numbers by name, and details of those that are not what they must be."""

    facts: dict[str, int] = field(default_factory=dict)
    #: Must be zero.
    zeros: dict[str, list[str]] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether all that must be zero is."""
        return not any(self.zeros.values())

    def __str__(self) -> str:
        width = max(map(len, (*self.facts, *self.zeros))) + 2
        lines = [f"{name:<{width}}{number:>6}" for name, number in self.facts.items()]
        lines += [f"{name:<{width}}{len(found):>6}   must be 0" for name, found in self.zeros.items()]
        lines += [f"  {name}: {entry}" for name, found in self.zeros.items() for entry in found[:5]]
        return "\n".join(lines)


@dataclass
class Rows:
    """The database at rest."""

    jobs: dict[str, Any]
    attempts: list[Any]
    workflows: dict[str, str]
    outputs: list[Any]
    inputs: list[Any]
    successes: Counter[str]
    signals: Counter[str]


def read_rows(db: Database) -> Rows:
    """Read what the report looks at."""
    with db.read() as connection:
        jobs = connection.execute(
            sa.select(job.c.uuid, job.c.name, job.c.state, job.c.reason, workflow.c.uuid.label("workflow")).join(
                workflow, workflow.c.id == job.c.workflow_id
            )
        ).all()
        attempts = connection.execute(
            sa.select(
                attempt.c.uuid, attempt.c.state, attempt.c.reason, job.c.uuid.label("job"), pilot.c.name.label("pilot")
            )
            .join(job, job.c.id == attempt.c.job_id)
            .join(pilot, pilot.c.id == attempt.c.pilot_id)
        ).all()
        outputs = connection.execute(
            sa.select(dataset.c.id, dataset.c.place, dataset.c.size, dataset.c.checksum, job.c.uuid.label("job"))
            .join(job, job.c.id == dataset.c.producer_id)
            .where(dataset.c.state == "available")
        ).all()
        inputs = connection.execute(
            sa.select(job.c.uuid.label("job"), job_input.c.dataset_id).join(job, job.c.id == job_input.c.job_id)
        ).all()
        events = connection.execute(
            sa.select(event.c.noun, event.c.uuid, event.c.signal).where(event.c.after != event.c.before)
        ).all()
        late = connection.execute(
            sa.select(event.c.signal).where(event.c.noun == "attempt", event.c.after == event.c.before)
        ).all()
        works = {row.uuid: row.state for row in connection.execute(sa.select(workflow.c.uuid, workflow.c.state))}
    good = {"succeed", "late-success"}
    return Rows(
        {row.uuid: row for row in jobs},
        list(attempts),
        works,
        list(outputs),
        list(inputs),
        Counter(row.uuid for row in events if row.noun == "job" and row.signal in good),
        Counter(
            [row.signal for row in events if row.noun == "attempt"] + ["refused" for _ in late],
        ),
    )


def make_table(
    rows: Rows,
    journal: Journal,
    submitted: Sequence[str],
    faults: Sequence[Fault],
    departures: Sequence[str],
    counts: Counter[str],
) -> Table:
    """Hold what p3s says against what the payloads wrote."""
    table = Table({kind: counts[kind] for kind in sorted(counts)})
    accepted = {row.job: row.uuid for row in rows.attempts if row.state == "succeeded"}
    states = Counter(f"{row.state} {row.reason or ''}".strip() for row in rows.attempts)
    overlaps = journal.find_overlaps()
    others = [pair for pair in overlaps if rows.jobs[pair[0].job].name not in EXCLUSIVE]
    table.facts |= {
        "faults injected": sum(counts.values()),
        "jobs": len(rows.jobs),
        "attempts": len(rows.attempts),
        **{f"attempts {state}": states[state] for state in sorted(states)},
        "payloads started": len(journal.runs),
        "successes that came late and counted": rows.signals["late-success"],
        "reports refused as superseded": rows.signals["refused"],
        "accepted results": len(accepted),
        "overlaps of others": len(others),
    }
    wrong = Counter(row.job for row in rows.attempts if row.state == "succeeded")
    table.zeros = {
        "duplicates accepted": [
            ident for ident in {*wrong, *rows.successes} if max(wrong[ident], rows.successes[ident]) > 1
        ],
        "accepted outputs changed": _find_changed(rows, accepted),
        "lost": _find_lost(rows, journal, submitted, accepted),
        "order violations": _find_disorder(rows, journal, accepted),
        "stuck": [f"{row.name} is {row.state}" for row in rows.jobs.values() if row.state != "finished"],
        # No payload of this run fails by itself.
        "failures blamed on payloads": [
            f"{rows.jobs[row.job].name}: {row.reason}, on {row.pilot}"
            for row in rows.attempts
            if row.state == "failed" and row.reason in PAYLOAD_REASONS
        ],
        "payloads started twice": journal.repeated,
        "pilots that left by themselves": list(departures),
        "overlapping payloads of exclusive jobs": [
            _tell(pair, rows) for pair in overlaps if rows.jobs[pair[0].job].name in EXCLUSIVE
        ],
        "overlaps without a cut or a freeze": [
            _tell(pair, rows) for pair in others if not _is_explained(pair, rows, faults)
        ],
    }
    return table


def _find_changed(rows: Rows, accepted: dict[str, str]) -> list[str]:
    """Return outputs that are not what the accepted attempt made of the accepted attempts before it."""
    makers = {row.id: row.job for row in rows.outputs}
    sources: dict[str, list[str]] = defaultdict(list)
    for row in rows.inputs:
        sources[row.job].append(accepted.get(makers.get(row.dataset_id, ""), "nobody"))
    wrong = []
    for row in rows.outputs:
        path = Path(row.place)
        if not path.is_file():
            wrong.append(f"{row.place} is gone")
            continue
        data = path.read_bytes()
        writer, *read = data.decode().split()
        digest = hashlib.sha256(data).hexdigest()
        if writer != accepted.get(row.job) or f"/{writer}/" not in row.place:
            wrong.append(f"{row.place} was written by {writer}, accepted is {accepted.get(row.job)}")
        elif len(data) != row.size or (row.checksum and row.checksum.rpartition(":")[2] != digest):
            wrong.append(f"{row.place} has another content than when it was accepted")
        elif sorted(read) != sorted(sources[row.job]):
            wrong.append(f"{row.place} was made of inputs that were not accepted")
    return wrong


def _find_lost(rows: Rows, journal: Journal, submitted: Sequence[str], accepted: dict[str, str]) -> list[str]:
    """Return workflows and jobs that are not there, and successes that no payload brought about."""
    lost = [f"workflow {ident}" for ident in submitted if ident not in rows.workflows]
    there = {(row.workflow, row.name) for row in rows.jobs.values()}
    lost += [f"{name} of {ident}" for ident in submitted for name in PARENTS if (ident, name) not in there]
    for ident, chosen in accepted.items():
        run = journal.runs.get(chosen)
        if run is None or run.ended is None:
            lost.append(f"{rows.jobs[ident].name} was accepted, and its payload has not ended")
    return lost


def _find_disorder(rows: Rows, journal: Journal, accepted: dict[str, str]) -> list[str]:
    """Return payloads that began before a parent's accepted payload had ended."""
    names = {(row.workflow, row.name): row.uuid for row in rows.jobs.values()}
    wrong = []
    for run in journal.runs.values():
        row = rows.jobs[run.job]
        for parent in PARENTS[row.name]:
            source = journal.runs.get(accepted.get(names[row.workflow, parent], ""))
            if source is None or source.ended is None or source.ended > run.first:
                wrong.append(f"{row.name} began before {parent} had ended")
    return wrong


def _is_explained(pair: tuple[Run, Run], rows: Rows, faults: Sequence[Fault]) -> bool:
    """Whether the earlier payload's pilot was cut off or frozen before the later payload began."""
    earlier, later = pair
    name = next((row.pilot for row in rows.attempts if row.uuid == earlier.attempt), None)
    return any(
        fault.kind in PARTING
        and fault.pilot in {None, name}
        and fault.begun < later.begun
        and fault.ended > earlier.begun - LEASE
        for fault in faults
    )


def _tell(pair: tuple[Run, Run], rows: Rows) -> str:
    earlier, later = pair
    name = rows.jobs[earlier.job].name
    late = earlier.last_seen - later.begun
    return f"{name} {earlier.job}: {earlier.attempt} wrote {late:.2f} s after {later.attempt} began"
