"""A simple model of the server for the state machine: what each step may have changed, and what it must not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine import states
from p3s.engine.expand import expand_dag
from p3s.engine.graph import build_graph
from p3s.engine.load import load_dag
from p3s.engine.release import find_broken, find_released
from p3s.engine.states import DatasetState, JobState, Signal
from p3s.server import models
from p3s.wire import ExternalMember
from tests.support import invariants

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import networkx as nx

    from p3s.server.db import Database
    from p3s.wire import AttemptReport, JobOrder, Verdict

TABLES: dict[str, Mapping[tuple[Any, Signal], Any]] = {
    "job": states.JOB,
    "attempt": states.ATTEMPT,
    "dataset": states.DATASET,
    "workflow": states.WORKFLOW,
    "pilot": states.PILOT,
}
_COLUMNS = {
    "job": (
        "uuid",
        "name",
        "workflow_id",
        "state",
        "attempt",
        "missing",
        "paused",
        "failures",
        "losses",
        "not_before",
        "released",
    ),
    "attempt": ("uuid", "job_id", "pilot_id", "number", "claim", "state"),
    "dataset": ("uuid", "workflow_id", "producer_id", "key", "state", "place", "version", "checksum", "message"),
    "workflow": ("uuid", "state", "cancelled_by"),
    "pilot": ("uuid", "state", "status", "claim", "acked"),
}
#: A token that is nobody's.
FORGED = "0" * 64
_OPEN = ("dispatched", "running", "stopping")


@dataclass(frozen=True)
class Shape:
    """A DAG, and by hand what it means: the parents of each job and whether any end of theirs will do."""

    text: str
    parents: dict[str, dict[str, bool]]
    noops: frozenset[str] = frozenset()
    external: str | None = None


CHAIN = Shape(
    """\
name: chain
jobs:
  a: {outputs: {x: x.txt}, run: make}
  b: {inputs: [x], outputs: {y: y.txt}, retry: {max: 1, backoff: 5s}, run: make}
  c: {inputs: [y], run: make}
""",
    {"a": {}, "b": {"a": False}, "c": {"b": False}},
)
DIAMOND = Shape(
    """\
name: diamond
datasets:
  raw: {path: /incoming/raw.csv}
jobs:
  reduce: {inputs: [raw], outputs: {hits: hits.csv}, run: make}
  left: {inputs: [hits], outputs: {a: a.csv}, run: make}
  right: {inputs: [hits], outputs: {b: b.csv}, retry: 1, run: make}
  join: {inputs: [a, b], outputs: {whole: whole.csv}, run: make}
""",
    {"reduce": {}, "left": {"reduce": False}, "right": {"reduce": False}, "join": {"left": False, "right": False}},
    external="/incoming/raw.csv",
)
TOLERANT = Shape(
    """\
name: tolerant
jobs:
  first: {outputs: {f: f.txt}, run: make}
  second: {outputs: {s: s.txt}, retry: 1, run: make}
  report: {inputs: {f: partial, s: partial}, outputs: {r: r.txt}, retry: 1, run: make}
  sync: {needs: [first, second]}
  after: {needs: [sync], run: make}
  cleanup: {needs: {report: done, after: done}, run: make}
""",
    {
        "first": {},
        "second": {},
        "report": {"first": True, "second": True},
        "sync": {"first": False, "second": False},
        "after": {"sync": False},
        "cleanup": {"report": True, "after": True},
    },
    noops=frozenset({"sync"}),
)
FAN = Shape(
    """\
name: fan
jobs:
  source: {outputs: {d: d.txt}, run: make}
  part: {matrix: {n: [0, 1, 2, 3, 4]}, inputs: [d], outputs: {p: "p-${{ matrix.n }}.txt"}, run: make}
  whole: {inputs: {p: all}, run: make}
""",
    {
        "source": {},
        **{f"part-{number}": {"source": False} for number in range(5)},
        "whole": {f"part-{number}": False for number in range(5)},
    },
)
SHAPES = {"chain": CHAIN, "diamond": DIAMOND, "tolerant": TOLERANT, "fan": FAN}


@dataclass
class Snapshot:
    """The rows of the main tables by uuid, and the same by id."""

    rows: dict[str, dict[str, Any]]
    ids: dict[str, dict[int, Any]]
    rippling: bool
    #: By workflow and key, the datasets from outside that its jobs read.
    bound: dict[int, dict[str, int]] = field(default_factory=dict)

    def find_job(self, attempt: str) -> Any:
        """The job of an attempt."""
        return self.ids["job"][self.rows["attempt"][attempt].job_id]

    def tell_work(self) -> Any:
        """Jobs, datasets and workflows: what a refused report must leave as it is."""
        return [self.rows[noun] for noun in ("job", "dataset", "workflow")]


def take_snapshot(db: Database) -> Snapshot:
    """Read all that the model looks at."""
    rows: dict[str, dict[str, Any]] = {}
    ids: dict[str, dict[int, Any]] = {}
    with db.read() as connection:
        for noun, columns in _COLUMNS.items():
            table: sa.Table = getattr(models, noun)
            found = connection.execute(sa.select(table.c.id, *(table.c[name] for name in columns))).all()
            rows[noun] = {row.uuid: row for row in found}
            ids[noun] = {row.id: row for row in found}
        rippling = connection.scalar(sa.select(models.ripple.c.id).limit(1)) is not None
        edges = connection.execute(
            sa.select(models.job.c.workflow_id, models.job_input.c.key, models.job_input.c.dataset_id)
            .join(models.job_input, models.job_input.c.job_id == models.job.c.id)
            .join(models.dataset, models.dataset.c.id == models.job_input.c.dataset_id)
            .where(models.dataset.c.workflow_id.is_distinct_from(models.job.c.workflow_id))
        ).all()
    bound: dict[int, dict[str, int]] = defaultdict(dict)
    for edge in edges:
        bound[edge.workflow_id][edge.key] = edge.dataset_id
    return Snapshot(rows, ids, rippling, bound)


def _close_table(table: Mapping[tuple[Any, Signal], Any]) -> dict[str, set[str]]:
    """Return for each state those that it may be in after any number of signals but `retry`."""
    reached: dict[str, set[str]] = {state: {state} for pair in table.items() for state in (pair[0][0], pair[1])}
    for _ in reached:
        for (before, signal), after in table.items():
            if signal is not Signal.RETRY:
                reached[before] |= reached[after]
    return reached


_REACHED = {noun: _close_table(table) for noun, table in TABLES.items()}


@dataclass
class Model:
    """What is known of the server by having watched it from the start."""

    db: Database
    shapes: dict[str, Shape] = field(default_factory=dict)
    graphs: dict[str, nx.DiGraph[Any]] = field(default_factory=dict)
    #: The accepted attempt of each job; what is in here never changes.
    accepted: dict[str, str] = field(default_factory=dict)
    #: Attempts whose success was superseded: their pilots delete what they made.
    dropped: set[str] = field(default_factory=set)
    places: dict[str, str] = field(default_factory=dict)
    #: Workflows whose pause was answered.
    paused: set[str] = field(default_factory=set)
    #: Every (noun, state, signal) that was seen to happen.
    seen: set[tuple[str, str, str]] = field(default_factory=set)
    clock_went_back: bool = False
    #: Whether the next step may take rows out of final states, and whether data that failed may be expected again.
    retried: bool = False
    reloaded: bool = False
    _ever_retried: bool = False
    _last_event: int = 0
    _told: dict[tuple[str, str], str] = field(default_factory=dict)
    last: Snapshot = field(init=False)

    def __post_init__(self) -> None:
        self.last = take_snapshot(self.db)

    def add_workflow(self, ident: str, shape: Shape) -> None:
        """Learn of a workflow that was, or may have been, loaded."""
        self.shapes[ident] = shape
        externals = {"raw": [ExternalMember(place=shape.external)]} if shape.external else {}
        plan = expand_dag(load_dag(shape.text, "w.yaml"), {}, externals, bundle=(), max_jobs=100)
        self.graphs[ident] = build_graph(plan)

    def check_step(self) -> Snapshot:
        """Compare the database with what was there before the step; return what is there now."""
        now = take_snapshot(self.db)
        self._check_events(now)
        self._check_moves(now)
        self._check_accepted(now)
        self._check_attempts(now)
        if not now.rippling:
            self._check_release(now)
        self._ever_retried |= self.retried
        with self.db.read() as connection:
            if not (self.clock_went_back or self._ever_retried):
                # It compares times, which tell no order once the clock went back, or a parent that a job did
                # without runs again; `check_order` looks at the moment of the claim, and holds always.
                invariants._check_order(connection)
            invariants._check_one_success(connection)
            invariants._check_counters(connection)
            invariants._check_accepted_places(connection)
        # What became final on the way is paused no longer.
        self.paused &= {row.uuid for row in now.rows["workflow"].values() if row.state == "paused"}
        self._check_versions(now)
        self.last, self.retried, self.reloaded = now, False, False
        return now

    def check_order(self, order: JobOrder, pilot: str, claim: int) -> None:
        """Assert that a claim's answer may hold this order; called before the step's snapshot is replaced."""
        known = self.last.rows["attempt"].get(order.attempt)
        if known is not None:
            mine = self.last.ids["pilot"][known.pilot_id].uuid
            assert (mine, known.claim) == (pilot, claim), f"{order.job_name}: another claim's attempt"
            return
        now = take_snapshot(self.db)
        row = now.rows["job"][order.job]
        work = now.ids["workflow"][row.workflow_id]
        assert order.job not in self.accepted, f"{row.name} was handed out after its success was accepted"
        # A pause or a cancel that was interrupted is taken up by the sweeper; one that was answered holds.
        assert work.state in {"running", "paused"}, f"{row.name} was handed out while its workflow is {work.state}"
        assert work.uuid not in self.paused, f"{row.name} of a paused workflow was handed out"
        others = [one for one in now.rows["attempt"].values() if one.job_id == row.id and one.uuid != order.attempt]
        assert not [one for one in others if one.state in _OPEN], f"{row.name} was handed out twice"
        assert order.number == 1 + max((one.number for one in others), default=0)
        assert all(one.state != "succeeded" for one in others)
        by_name = {one.name: one for one in now.rows["job"].values() if one.workflow_id == row.workflow_id}
        for key, ident in now.bound[row.workflow_id].items() if row.name == "reduce" else ():
            state = now.ids["dataset"][ident].state
            assert state == "available", f"{row.name} was handed out while {key} is {state}"
        shape = self.shapes.get(work.uuid)
        for parent, tolerant in (shape.parents[row.name] if shape else {}).items():
            before = by_name[parent]
            # What was dispatched once is not held up by a parent that it bore with and that is retried.
            done = before.state == "finished" or (tolerant and (before.state in states.FINAL_JOB or bool(others)))
            assert done, f"{row.name} was handed out before {parent}, which is {before.state}"

    def check_verdicts(self, reports: Sequence[AttemptReport], verdicts: Sequence[Verdict]) -> None:
        """Assert that nobody is told to drop what was accepted: its outputs would go with it."""
        accepted = set(self.accepted.values())
        for report, verdict in zip(reports, verdicts, strict=True):
            if report.kind == "succeeded" and verdict.verdict == "superseded":
                self.dropped.add(report.attempt)
            if report.attempt in accepted and report.token != FORGED:
                assert report.attempt not in self.dropped, f"{report.attempt} was accepted after it was to be dropped"
                told = f"{report.kind} of an accepted attempt was answered {verdict.verdict}: {verdict.message}"
                assert verdict.verdict in {"accepted", "repeated"}, told

    def predict_success(self, attempt: str) -> str:
        """Return the verdict that a success reported now must get."""
        row = self.last.rows["attempt"][attempt]
        job = self.last.find_job(attempt)
        if row.state == "succeeded":
            return "repeated"
        current = job.attempt == row.number and job.state not in states.FINAL_JOB and attempt not in self.dropped
        return "accepted" if current and row.state in {"dispatched", "running", "lost"} else "superseded"

    def _check_events(self, now: Snapshot) -> None:
        """Every event is a row of a transition table, and the events tell the states that are there."""
        event = models.event
        with self.db.read() as connection:
            rows = connection.execute(sa.select(event).where(event.c.id > self._last_event).order_by(event.c.id)).all()
        tables = {noun: {(str(a), str(b)): str(c) for (a, b), c in table.items()} for noun, table in TABLES.items()}
        for row in rows:
            self._last_event = row.id
            if not row.after or row.before == row.after:
                continue
            if row.before:
                after = tables[row.noun].get((row.before, row.signal))
                assert after == row.after, f"{row.noun} went from {row.before} to {row.after} by {row.signal}"
                told = self._told.get((row.noun, row.uuid), row.before)
                assert told == row.before, f"{row.noun} went from {row.before}, but its story ends with {told}"
                self.seen.add((row.noun, row.before, row.signal))
            self._told[row.noun, row.uuid] = row.after
        for (noun, ident), state in self._told.items():
            found = now.rows[noun].get(ident)
            assert found is None or found.state == state, f"{noun} {ident} is {found.state}, its story says {state}"

    def _check_moves(self, now: Snapshot) -> None:
        """No row went where its table does not lead."""
        for noun, reached in _REACHED.items():
            if noun == "pilot" or self.retried:
                continue
            for ident, before in self.last.rows[noun].items():
                after = now.rows[noun].get(ident)
                if after is None:
                    # What was written of an abandoned load goes.
                    assert before.state in {"loading", "held", "expected"}, f"{noun} {before} was deleted"
                    continue
                if noun == "dataset" and self.reloaded and (before.state, after.state) == ("failed", "expected"):
                    continue
                assert after.state in reached[before.state], f"{noun} {before} became {after.state}"

    def _check_accepted(self, now: Snapshot) -> None:
        """What was accepted once stays so, with its outputs where they were."""
        for row in now.rows["attempt"].values():
            if row.state == "succeeded":
                job = now.ids["job"][row.job_id].uuid
                assert self.accepted.setdefault(job, row.uuid) == row.uuid, "a second attempt was accepted"
        for job, attempt in self.accepted.items():
            assert now.rows["attempt"][attempt].state == "succeeded", "an accepted attempt was changed"
            assert now.rows["job"][job].state == "finished", "a job left `finished`"
        for row in now.rows["dataset"].values():
            if row.state == "available" and row.workflow_id is not None:
                assert self.places.setdefault(row.uuid, row.place) == row.place, "an accepted place was changed"
        for ident in self.places:
            row = now.rows["dataset"][ident]
            assert row.state == "available" or row.message.startswith("was deleted by"), "accepted data went away"

    def _check_versions(self, now: Snapshot) -> None:
        """Whoever reads a version of external data keeps it, and what is known of its content stays."""
        for workflow, before in self.last.bound.items():
            assert {key: now.bound[workflow].get(key, ident) for key, ident in before.items()} == before
        numbers: dict[str, list[int]] = defaultdict(list)
        for ident, row in now.rows["dataset"].items():
            if row.workflow_id is None:
                numbers[row.place].append(row.version)
                old = self.last.rows["dataset"].get(ident)
                if old is not None and old.checksum and old.state == "available":
                    assert row.checksum == old.checksum, f"the content of {row} was {old.checksum}"
        for place, versions in numbers.items():
            assert sorted(versions) == list(range(1, len(versions) + 1)), f"versions of {place}: {versions}"

    def _check_attempts(self, now: Snapshot) -> None:
        """The job's state and that of its newest attempt say the same; only the newest one is open."""
        attempts: dict[int, list[Any]] = defaultdict(list)
        for row in now.rows["attempt"].values():
            attempts[row.job_id].append(row)
        for ident, row in now.ids["job"].items():
            mine = sorted(attempts[ident], key=lambda one: one.number)
            assert [one.number for one in mine] == list(range(1, row.attempt + 1)), f"attempts of {row}: {mine}"
            newest = mine[-1].state if mine else None
            if row.state in {"dispatched", "running"}:
                assert newest == row.state, f"{row} has an attempt that is {newest}"
            elif newest in {"dispatched", "running"}:
                raise AssertionError(f"{row} has an attempt that is {newest}")
            assert all(one.state not in _OPEN for one in mine[:-1]), f"an older attempt of {row} is open"

    def _check_release(self, now: Snapshot) -> None:
        """The counters release and skip exactly what a walk over the graph says."""
        for ident, graph in self.graphs.items():
            work = now.rows["workflow"].get(ident)
            if work is None or work.state != "running" or work.cancelled_by is not None:
                continue
            mine = {row.name: row for row in now.rows["job"].values() if row.workflow_id == work.id}
            datasets = {row.key: row for row in now.rows["dataset"].values() if row.workflow_id == work.id}
            datasets |= {key: now.ids["dataset"][source] for key, source in now.bound[work.id].items()}
            if len(mine) < len(self.shapes[ident].parents):
                continue
            job_states = {name: JobState(row.state) for name, row in mine.items()}
            dataset_states = {key: DatasetState(row.state) for key, row in datasets.items()}
            self._check_counts(graph, mine, job_states, dataset_states)
            # What is paused is let go later.
            if any(row.paused for row in mine.values()):
                continue
            released = {name for name in find_released(graph, job_states, dataset_states) if mine[name].not_before == 0}
            assert not released, f"{sorted(released)} of {ident} miss nothing and wait"
            broken = {name for name in find_broken(graph, job_states, dataset_states) if mine[name].state == "waiting"}
            assert not broken, f"{sorted(broken)} of {ident} can never run and wait"

    @staticmethod
    def _check_counts(
        graph: nx.DiGraph[Any],
        rows: Mapping[str, Any],
        job_states: Mapping[str, JobState],
        dataset_states: Mapping[str, DatasetState],
    ) -> None:
        """Each job that is not final counts what the graph says that it misses."""
        for name, row in rows.items():
            # What was dispatched once is not held up any more by what it bore with and what is retried now.
            if row.paused or row.released is not None or row.state in states.FINAL_JOB:
                continue
            left = set()
            for (noun, source), edge in graph.pred["job", name].items():
                state: str = job_states[source] if noun == "job" else dataset_states[source]
                ended = state in states.FINAL_JOB if noun == "job" else state != "expected"
                if state not in {"finished", "available"} and not (edge["partial"] and ended):
                    left.add(source)
            assert row.missing == len(left), f"{name} counts {row.missing} missing, the graph says {sorted(left)}"
