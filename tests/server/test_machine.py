"""A state machine drives the server's code with pilots that lose, repeat, forget and die; a model watches each step."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from p3s.engine import states
from p3s.engine.spec import StandaloneSpec
from p3s.engine.states import PilotStatus, Reason
from p3s.errors import Conflict, NoToken
from p3s.server import models
from p3s.server.db import Database
from p3s.server.queries.find import find_row
from p3s.server.usecases import acts, datasets, holds
from p3s.server.usecases.core import Core
from p3s.server.usecases.load import load_workflow, start_workflow
from p3s.server.usecases.standalone import create_jobs
from p3s.server.usecases.sweep import sweep
from p3s.settings import Home, ServerSettings
from p3s.wire import AdjustDatasetBody, Claim, CreateJobsBody, LoadBody, RegisterDatasetBody, StandaloneJob
from tests.support.databases import copy_sqlite
from tests.support.model import DIAMOND, FORGED, SHAPES, Model
from tests.support.pilots import ScriptedPilot

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from p3s.wire import AttemptReport, ExchangeReply, JobOrder

#: How often the usual number of examples is run; for a long search.
TIMES = int(os.environ.get("P3S_MACHINE_TIMES", "1"))
#: Whether a failure is made smaller, which takes minutes.
SHRINK = "P3S_MACHINE_SHRINK" in os.environ

#: A drawn yes or no.
Flag: TypeAlias = bool
PICK = st.integers(0, 30)
#: Mostly the server lives; sometimes it dies before the n-th transaction of what it does.
FUSE = st.sampled_from([None] * 9 + [0, 1, 2, 3, 5])
RARELY = st.sampled_from([False, False, False, True])
REASONS = (Reason.EXIT_CODE, Reason.SIGNAL, Reason.MISSING_OUTPUT, Reason.NONSTARTER, Reason.STAGING, Reason.REFUSED)

REPORTS = ("started", "both", "succeeded", "failed", "handed-back", "elsewhere")
PILOT_ACTS = (
    *REPORTS,
    "claim",
    "flush",
    "obey",
    "repeat",
    "zombie",
    "forge",
    "forget",
    "crash",
    "leave",
    "start-pilot",
)
WORKFLOW_ACTS = ("start", "cancel", "pause", "resume", "retry")
#: Seconds that an act lets pass.
PASSING = {"wait": 1.0, "ack": 9.0, "backoff": 20.0, "lease": 61.0, "long": 1000.0}
FATES = (*PASSING, "sweep", "sweep-young", "restart", "clock-back", "drain", "kill")
DATA_ACTS = ("register", "register-other", "adjust", "delete-data", "force-delete")
#: What happens often stands here often.
ACTS = (
    *("claim",) * 8,
    *("started", "both", "succeeded", "flush") * 3,
    *("failed", "handed-back", "obey", "zombie", "lease", "ack", "backoff", "retry", "register") * 2,
    *PILOT_ACTS,
    *WORKFLOW_ACTS,
    *FATES,
    *DATA_ACTS,
    *("submit", "submit-again", "cancel-job", "retry-job", "pause-server", "resume-server", "resume-server"),
)


class ServerDied(Exception):
    """The server process was killed between two transactions."""


class MortalDatabase(Database):
    """Dies before the transaction that a test names."""

    fuse: int | None = None

    def write(self, action: Callable[[sa.Connection], Any], *, planned: bool = False) -> Any:
        if self.fuse == 0:
            raise ServerDied
        if self.fuse is not None:
            self.fuse -= 1
        return super().write(action, planned=planned)


class Clock:
    """The server's clock, which the test turns."""

    def __init__(self) -> None:
        self.now = self.latest = 1_000_000_000.0

    def read(self) -> float:
        # Two transactions are never at the same instant.
        self.now += 0.001
        self.latest = max(self.latest, self.now)
        return self.now


@dataclass
class Agent:
    """A pilot, and what it believes."""

    pilot: ScriptedPilot
    want: int
    #: Whether the answer to the newest claim was lost, so that the same number is asked again.
    pending: bool = False
    orders: dict[str, JobOrder] = field(default_factory=dict)
    outbox: list[AttemptReport] = field(default_factory=list)
    stops: set[str] = field(default_factory=set)
    status: PilotStatus = PilotStatus.OK

    @property
    def running(self) -> list[str]:
        return [*self.orders, *(report.attempt for report in self.outbox if report.attempt not in self.orders)]


class Machine(RuleBasedStateMachine):
    """Rules are what clients, pilots, operators, time and fate do."""

    address = ""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock()
        self.patch.setattr("p3s.server.usecases.changes.read_clock", self.clock.read)
        # Steps so small that every batch is interrupted and every fan ripples.
        self.patch.setattr("p3s.server.transitions.spread.ROOM", 3)
        for name in (
            "usecases.load",
            "usecases.standalone",
            "transitions.ends",
            "transitions.starts",
            "transitions.pauses",
        ):
            self.patch.setattr(f"p3s.server.{name}.STEP", 2)
        self.db = MortalDatabase(self.make_database())
        self.core = self._make_core()
        self.model = Model(self.db)
        self.loads: list[LoadBody] = []
        self.jobs: list[CreateJobsBody] = []
        self.agents: list[Agent] = []
        #: Every order that ever reached a pilot, and every report that was ever sent.
        self.known: list[JobOrder] = []
        self.sent: list[AttemptReport] = []
        self.count = 0

    def make_database(self) -> str:
        """Return the address of an empty database."""
        raise NotImplementedError

    @initialize(name=st.sampled_from(sorted(SHAPES)), slots=st.integers(1, 3))
    def begin(self, name: str, slots: int) -> None:
        self._submit(name, hold=False, fuse=None)
        for _ in range(2):
            self._start_pilot(slots)

    @rule(act=st.sampled_from(ACTS), pick=PICK, which=PICK, lost=RARELY, fuse=FUSE)
    def step(self, act: str, pick: int, which: int, lost: Flag, fuse: int | None) -> None:
        """Do one act of a pilot, a person, time or fate; where it makes no sense now, the nearest that does."""
        if act in PILOT_ACTS:
            self._act_as_pilot(act, pick, which, lost=lost, fuse=fuse)
        elif act in WORKFLOW_ACTS:
            rows = list(self.model.last.rows["workflow"].values())
            if rows:
                self._act_on_workflow(act, rows[pick % len(rows)].uuid, fuse)
        elif act in {"cancel-job", "retry-job"}:
            self._act_on_job(act, pick, fuse)
        elif act in DATA_ACTS:
            self._act_on_data(act, pick, which, fuse)
        elif act == "submit":
            if len(self.loads) + len(self.jobs) < 6:
                name = ["job", *SHAPES][pick % (1 + len(SHAPES))]
                self._submit(name, hold=lost, fuse=fuse, size=which if which % 5 == 0 else None)
        elif act == "submit-again":
            self._submit_again(pick, fuse)
        else:
            self._meet_fate(act, pick, fuse)

    # Clients and operators ------------------------------------------------------------------------------------

    def _submit(self, name: str, *, hold: bool, fuse: int | None, size: int | None = None) -> None:
        ident = self._make_uuid()
        if name == "job":
            spec = StandaloneSpec.model_validate({"run": "make", "retry": {"max": len(self.jobs) % 3, "backoff": 1}})
            self.jobs.append(CreateJobsBody(jobs=[StandaloneJob(uuid=ident, spec=spec, hold=hold)]))
            self._do(lambda: create_jobs(self.core, self.jobs[-1], "ann"), fuse)
            return
        shape = SHAPES[name]
        seen = {"place": shape.external} | ({"available": True, "size": size} if size is not None else {})
        externals: dict[str, Any] = {"raw": [seen]} if shape.external else {}
        self.model.reloaded = True
        body = LoadBody(uuid=ident, text=shape.text, hold=hold, externals=externals)
        self.loads.append(body)
        self.model.add_workflow(ident, shape)
        reply = self._do(lambda: load_workflow(self.core, body, "ann"), fuse)
        assert reply is None or reply.created

    def _submit_again(self, pick: int, fuse: int | None) -> None:
        bodies: list[LoadBody | CreateJobsBody] = [*self.loads, *self.jobs]
        body = bodies[pick % (len(self.loads) + len(self.jobs))]
        if isinstance(body, CreateJobsBody):
            self._do(lambda: create_jobs(self.core, body, "ann"), fuse)
            return
        self.model.reloaded = True
        there = self.model.last.rows["workflow"].get(body.uuid)
        reply = self._do(lambda: load_workflow(self.core, body, "ann"), fuse)
        assert reply is None or there is None or there.state == "loading" or not reply.created

    def _act_on_workflow(self, act: str, ident: str, fuse: int | None = None) -> None:
        row = self._find("workflow", ident)
        self.model.retried |= act == "retry"

        def pause() -> bool:
            holds.pause_workflow(self.core, row, "ann")
            return True

        deeds: dict[str, Callable[[], Any]] = {
            "start": lambda: start_workflow(self.core, row.id, "ann"),
            "cancel": lambda: acts.cancel_workflow(self.core, row, "ann"),
            "pause": pause,
            "resume": lambda: holds.resume_workflow(self.core, row, "ann"),
            "retry": lambda: holds.retry_workflow(self.core, row, "ann"),
        }
        answer = self._do(deeds[act], fuse)
        if act in {"resume", "retry"}:
            self.model.paused.discard(ident)
        elif act == "pause" and answer is not None:
            self.model.paused.add(ident)

    def _act_on_job(self, act: str, pick: int, fuse: int | None) -> None:
        rows = list(self.model.last.rows["job"].values())
        if rows:
            row = self._find("job", rows[pick % len(rows)].uuid)
            self.model.retried |= act == "retry-job"
            deed = acts.cancel_job if act == "cancel-job" else holds.retry_job
            self._do(lambda: deed(self.core, row, "ann"), fuse)

    def _act_on_data(self, act: str, pick: int, which: int, fuse: int | None) -> None:
        rows = list(self.model.last.rows["dataset"].values())
        if act == "register" or (act == "register-other" and which % 2) or not rows:
            self._do(self._register, fuse)
        elif act == "register-other":
            self._do(lambda: self._register(f"adler32:{pick % 3:08x}"), fuse)
        else:
            row = self._find("dataset", rows[pick % len(rows)].uuid)
            if act == "adjust":
                body = AdjustDatasetBody(comment="seen", checksum=f"adler32:{which % 3:08x}")
                self._do(lambda: datasets.adjust_dataset(self.core, row, body, "ann"), fuse)
            else:
                force = act == "force-delete"
                self._do(lambda: datasets.delete(self.core, row, "ann", force=force, admin=False), fuse)

    def _register(self, checksum: str = "") -> None:
        body = RegisterDatasetBody(place=str(DIAMOND.external), checksum=checksum)
        datasets.register_dataset(self.core, body, "ann")

    # Pilots ---------------------------------------------------------------------------------------------------

    def _start_pilot(self, slots: int) -> None:
        self.agents.append(Agent(ScriptedPilot(self.core, slots=slots, uuid=self._make_uuid()), slots))

    def _act_as_pilot(self, act: str, pick: int, which: int, *, lost: bool, fuse: int | None) -> None:
        if not self.agents or (act == "start-pilot" and len(self.agents) < 3):
            self._start_pilot(1 + which % 4)
            return
        agent = self.agents[pick % len(self.agents)]
        how: dict[str, Any] = {"lost": lost, "fuse": fuse}
        odd = which % 2 == 1
        if act in REPORTS and agent.orders:
            self._report(agent, which, act, claim=odd, **how)
        elif act == "forget" and agent.orders:
            del agent.orders[list(agent.orders)[which % len(agent.orders)]]
        elif act == "obey" and agent.stops:
            orders = [agent.orders.pop(ident) for ident in sorted(agent.stops) if ident in agent.orders]
            agent.stops.clear()
            agent.outbox += [agent.pilot.make_report(order, "stopped") for order in orders]
            self._call(agent, reports=list(agent.outbox), **how)
        elif act == "flush":
            self._call(agent, reports=list(agent.outbox), claim=odd, heartbeat=which % 3 == 0, **how)
        elif act == "repeat" and self.sent:
            self._call(agent, reports=[self.sent[-1 - which % len(self.sent)]], fuse=fuse)
        elif act in {"zombie", "forge"} and self.known:
            self._report_as_zombie(agent, which, forged=act == "forge", how=how)
        elif act in {"crash", "leave"}:
            if act == "leave":
                self._call(agent, state="leaving", **how)
            # Its undelivered reports are found by the next pilot of the same work folder.
            self.agents.remove(agent)
            if self.agents:
                self.agents[0].outbox += agent.outbox
        else:
            self._call(agent, claim=True, heartbeat=odd, **how)

    def _report(self, agent: Agent, which: int, act: str, **how: Any) -> None:
        order = list(agent.orders.values())[which % len(agent.orders)]
        if act != "started":
            del agent.orders[order.attempt]
        report = agent.pilot.make_report(order, "succeeded" if act in {"elsewhere", "both"} else act)
        if act == "failed":
            report = report.model_copy(update={"reason": REASONS[which % len(REASONS)], "exit_code": 1})
        elif act == "elsewhere":
            outputs = [one.model_copy(update={"path": f"/elsewhere/{one.name}"}) for one in report.outputs]
            report = report.model_copy(update={"outputs": outputs})
        elif act == "both":
            agent.outbox.append(agent.pilot.make_report(order, "started"))
        agent.outbox.append(report)
        self._call(agent, reports=list(agent.outbox), **how)

    def _report_as_zombie(self, agent: Agent, which: int, *, forged: bool, how: dict[str, Any]) -> None:
        order = self.known[-1 - which % len(self.known)]
        kind = ("succeeded", "succeeded", "failed", "started")[which % 4]
        report = agent.pilot.make_report(order, kind)
        if forged:
            report = report.model_copy(update={"token": FORGED})
        reply = self._call(agent, reports=[report], **how)
        assert not forged or reply is None or reply.verdicts[0].verdict == "refused"

    # Time and fate --------------------------------------------------------------------------------------------

    def _meet_fate(self, act: str, pick: int, fuse: int | None) -> None:
        if act in PASSING:
            self.clock.now += PASSING[act]
        if act in {"sweep", "lease", "ack", "backoff"}:
            self._do(lambda: sweep(self.core, leases=True), fuse)
        elif act == "sweep-young":
            self._do(lambda: sweep(self.core, leases=False), fuse)
        elif act == "restart":
            self._restart()
        elif act == "clock-back":
            self.clock.now -= 10.0 * pick
            self.model.clock_went_back = True
        elif act in {"pause-server", "resume-server"}:
            deed = holds.pause_server if act == "pause-server" else holds.resume_server
            self._do(lambda: deed(self.core, "ann"))
        elif act in {"drain", "kill"} and self.agents:
            row = self._find("pilot", self.agents[pick % len(self.agents)].pilot.uuid)
            self._do(lambda: acts.end_pilot(self.core, row, PilotStatus(act.upper()), "ann"))

    @invariant()
    def agree(self) -> None:
        self.model.check_step()

    def teardown(self) -> None:
        try:
            # A step that failed says more than what becomes of it.
            if sys.exc_info()[0] is None:
                self._run_to_the_end()
        finally:
            self.db.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    # How it is done -------------------------------------------------------------------------------------------

    def _make_uuid(self) -> str:
        self.count += 1
        return str(uuid.UUID(int=self.count << 96))

    def _make_core(self) -> Core:
        return Core(self.db, ServerSettings(database=self.db.address, home=Home(self.folder / "home")))

    def _restart(self) -> None:
        self.core = self._make_core()
        for agent in self.agents:
            agent.pilot.core = self.core

    def _find(self, noun: str, ident: str) -> Any:
        with self.db.read() as connection:
            return find_row(connection, noun, ident)

    def _do(self, action: Callable[[], Any], fuse: int | None = None) -> Any:
        """Act; None if the server refused, or died on the way."""
        self.db.fuse = fuse
        try:
            return action()
        except Conflict:
            return None
        except ServerDied:
            event("the server died on the way")
            self.db.fuse = None
            self._restart()
            return None
        finally:
            self.db.fuse = None

    def _call(
        self,
        agent: Agent,
        *,
        reports: list[AttemptReport] | None = None,
        claim: Flag = False,
        heartbeat: Flag = False,
        lost: Flag = False,
        fuse: int | None = None,
        state: str = "working",
    ) -> ExchangeReply | None:
        """Make one call of a pilot, and check the whole answer; None if the pilot never saw one."""
        reports = reports or []
        self.sent += reports
        pilot = agent.pilot
        wish = None
        claim = claim and agent.status is PilotStatus.OK
        if claim:
            pilot.number += not agent.pending
            agent.pending = True
            wish = Claim(number=pilot.number, want=agent.want, cpus=8)
        running = agent.running if heartbeat or state == "leaving" else None
        fields: dict[str, Any] = {"claim": wish, "ack": pilot.acked, "reports": reports, "running": running}
        before = self.model.last
        predicted = self.model.predict_success(reports[0].attempt) if self._is_plain_success(reports) else None
        try:
            reply: ExchangeReply | None = self._do(lambda: pilot.call(**fields, state=state), fuse)
        except NoToken:
            # The server takes it for gone; it comes again under the same name.
            pilot.register()
            return None
        if reply is None:
            return None
        for order in reply.jobs:
            self.model.check_order(order, pilot.uuid, pilot.number)
        assert [verdict.attempt for verdict in reply.verdicts] == [report.attempt for report in reports]
        if predicted is not None:
            assert reply.verdicts[0].verdict == predicted, f"{reply.verdicts[0]}, and it should be {predicted}"
        self.model.check_verdicts(reports, reply.verdicts)
        refused = {verdict.verdict for verdict in reply.verdicts} <= {"superseded", "repeated"}
        if reports and refused and not claim and not heartbeat and state == "working":
            assert self.model.check_step().tell_work() == before.tell_work(), f"{reply.verdicts} changed something"
        if not lost:
            self._hear(agent, reply, reports, claim=claim)
        return reply

    def _is_plain_success(self, reports: list[AttemptReport]) -> bool:
        if len(reports) != 1 or reports[0].kind != "succeeded" or reports[0].token == FORGED:
            return False
        return not any("elsewhere" in one.path for one in reports[0].outputs)

    def _hear(self, agent: Agent, reply: ExchangeReply, reports: list[AttemptReport], *, claim: Flag) -> None:
        agent.outbox = [report for report in agent.outbox if report not in reports]
        agent.status = reply.status
        if claim:
            agent.pending = False
            agent.pilot.acked = agent.pilot.number
        for order in reply.jobs:
            agent.orders[order.attempt] = order
            self.known.append(order)
        for verdict in reply.verdicts:
            if verdict.verdict in {"superseded", "refused"}:
                agent.orders.pop(verdict.attempt, None)
        agent.stops |= {stop.attempt for stop in reply.stop if stop.attempt in agent.orders}

    # The end --------------------------------------------------------------------------------------------------

    def _run_to_the_end(self) -> None:
        """Let everything go and require that all becomes final; then retry and require that all finishes."""
        self._do(lambda: holds.resume_server(self.core, "ann"))
        # A client whose request was cut short asks again, when a clock that was set back has caught up: till then what
        # is left of its load counts as going on.
        self.clock.now = max(self.clock.now, self.clock.latest) + 100
        for position in range(len(self.loads) + len(self.jobs)):
            self._submit_again(position, None)
        self._do(self._register)
        self._let_go()
        self._work_off()
        open_attempts = [
            row for row in self.model.last.rows["attempt"].values() if row.state not in states.FINAL_ATTEMPT
        ]
        assert not open_attempts, f"attempts never ended: {open_attempts}"
        works = self.model.last.rows["workflow"]
        assert {body.uuid for body in self.loads} | {body.jobs[0].uuid for body in self.jobs} == set(works), "lost"
        for ident in list(works):
            self._act_on_workflow("retry", ident)
        self._work_off()
        doomed = self._find_doomed()
        unfinished = [
            row
            for row in self.model.last.rows["job"].values()
            if row.state != "finished" and row.workflow_id not in doomed
        ]
        assert not unfinished, f"a retry of all did not finish all: {unfinished}"

    def _find_doomed(self) -> set[int]:
        """Return the workflows that cannot finish: data that they made or read was deleted and is not back."""
        last = self.model.last
        gone = {ident for ident, row in last.ids["dataset"].items() if row.message and row.state != "available"}
        made = {last.ids["dataset"][ident].workflow_id for ident in gone}
        return made | {ident for ident, keys in last.bound.items() if gone & set(keys.values())}

    def _let_go(self) -> None:
        for row in self.model.last.rows["workflow"].values():
            if row.state in {"held", "paused"}:
                self._act_on_workflow("start" if row.state == "held" else "resume", row.uuid)

    def _work_off(self) -> None:
        for _ in range(30):
            self.clock.now += 4000
            self._do(lambda: sweep(self.core, leases=True))
            self.agree()
            good = ScriptedPilot(self.core, slots=50, uuid=self._make_uuid())
            while orders := good.claim():
                for order in orders:
                    assert good.succeed(order).verdict == "accepted"
            self._let_go()
            self.agree()
            if all(row.state in states.FINAL_WORKFLOW for row in self.model.last.rows["workflow"].values()):
                return
        stuck = [row for row in self.model.last.rows["job"].values() if row.state not in states.FINAL_JOB]
        raise AssertionError(f"stuck: {stuck}")


def run_machine(make_database: Callable[[Machine], str], examples: int, steps: int) -> None:
    """Search for a way to break the model."""
    kind = type("Machine", (Machine,), {"make_database": make_database})
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=examples * TIMES,
            # The same examples at each run of the suite; more of them, by TIMES, are drawn at random.
            derandomize=TIMES == 1,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(120 * TIMES)
def test_no_sequence_of_faults_breaks_a_promise_on_sqlite(sqlite_template):
    """Whatever is lost, repeated, late or killed: nothing is accepted twice, lost, out of order or stuck."""
    run_machine(lambda machine: copy_sqlite(sqlite_template, machine.folder), 30, 40)


@pytest.mark.postgres
@pytest.mark.timeout(120 * TIMES)
def test_no_sequence_of_faults_breaks_a_promise_on_postgresql(postgres):
    """As on SQLite."""
    address = postgres.copy()
    names = ", ".join(table.name for table in models.metadata.sorted_tables)

    def empty(_: Machine) -> str:
        db = Database(address)
        db.write(lambda connection: connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        db.close()
        return str(address)

    run_machine(empty, 8, 30)
