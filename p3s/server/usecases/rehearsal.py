"""A workflow that is run on no pilot and kept nowhere, so that the first real one need not wait.

Statements are compiled and planned when they run for the first time, which took a server's first workflow a tenth of a
second. Here all of it happens once before, by the same code, in one transaction that is rolled back.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from p3s import __version__
from p3s.errors import NotFound
from p3s.server.auth import Role, Who, send_for_who
from p3s.server.db import Database, act
from p3s.server.queries.find import find_row
from p3s.server.queries.workflows import view_workflow
from p3s.server.secrets import make_token
from p3s.server.transitions.repeats import CURRENT, make_keyed
from p3s.server.usecases.calls import Call
from p3s.server.usecases.changes import Change
from p3s.server.usecases.core import Core
from p3s.server.usecases.exchange import exchange, register_pilot
from p3s.server.usecases.load import load_workflow, start_workflow
from p3s.server.usecases.standalone import create_jobs
from p3s.wire import (
    Accepts,
    AttemptReport,
    Claim,
    CreateJobsBody,
    ExchangeBody,
    LoadBody,
    OutputReport,
    RegisterBody,
    StandaloneJob,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import sqlalchemy as sa

    from p3s.settings import ServerSettings

__all__ = ["rehearse"]

log = logging.getLogger(__name__)

#: Stands where names of people and hosts do.
NAME = "rehearsal"
#: Python runs a function in its general form seven times and then looks at what it is given: longer than that.
LENGTH = 16
#: Claims ask for 1, 2, 4 and so on up to 128 jobs in turn, and get one, because no more is ready: first with one cpu,
#: so that jobs have to be looked at, then with one for each, so that the first ones can be taken.
WANTS = 8
#: Twice as many as there are jobs.
CLAIMS = 2 * (LENGTH + 1)
#: A chain that begins with data, of a jobtype that nobody else has.
TEXT = """
name: rehearsal
defaults: {{jobtype: {jobtype}}}
jobs:
  step0: {{outputs: {{made: made}}, payload: /bin/true}}
  step1: {{inputs: [made], payload: /bin/true}}
""" + "".join(f"  step{number}: {{{{needs: [step{number - 1}], payload: /bin/true}}}}\n" for number in range(2, LENGTH))

#: A workflow whose job is left.
SHORT = "name: rehearsed\njobs:\n  only: {payload: /bin/true}\n"


def rehearse(db: Database, settings: ServerSettings) -> int:
    """Play through the life of some jobs in a transaction that is rolled back; return how many of them ended.

    What goes wrong is logged: a server that serves slowly at first is better than none.
    """

    def run(connection: sa.Connection) -> int:
        # Only what was done is rolled back, so that the next transaction takes this connection, which knows it all.
        savepoint = connection.begin_nested()
        try:
            return _play(Core(_Stage(db, connection), settings))
        finally:
            savepoint.rollback()

    ended = 0
    try:
        ended = db.write(run)
        # The connection that the first requests read over is to know its statements, too.
        for look in (lambda one: find_row(one, "workflow", str(uuid.uuid4())), lambda one: view_workflow(one, 0)):
            with suppress(NotFound), db.read() as connection:
                look(connection)
    except Exception:
        log.warning("the rehearsal failed; the first jobs take a moment longer", exc_info=True)
    return ended


class _Stage(Database):
    """A database in which all is one transaction of another."""

    def __init__(self, db: Database, connection: sa.Connection) -> None:
        self.is_sqlite, self.engine, self._connection = db.is_sqlite, db.engine, connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Read what the transaction has written."""
        yield self._connection

    def write(self, action: Callable[[sa.Connection], Any], *, planned: bool = False) -> Any:
        """Act within the transaction."""
        return act(self._connection, action, planned=planned, commit=False)


def _play(core: Core) -> int:
    jobtype = f"rehearsal-{uuid.uuid4()}"
    secret, pilot = make_token(), str(uuid.uuid4())
    accepts = Accepts(jobtypes=[jobtype])
    known = RegisterBody(uuid=pilot, host=NAME, pid=1, version=__version__, slots=1, cpus=1, accepts=accepts)
    register_pilot(core, known, Who(NAME, Role.PILOT), secret)
    # There is nothing yet, so it idles, as pilots do that a submission finds.
    exchange(core, pilot, secret, ExchangeBody(claim=Claim(number=1, want=1, cpus=1)))
    _load(core, jobtype)
    alone = StandaloneJob.model_validate({"uuid": str(uuid.uuid4()), "spec": {"payload": "/bin/true", "name": NAME}})
    create_jobs(core, CreateJobsBody(jobs=[alone]), NAME, partial(_send_for_nobody, core))
    reports: list[AttemptReport] = []
    for number in range(2, CLAIMS + 2):
        # The look for jobs is another statement for each number of them.
        want = 1 << number % WANTS
        claim = Claim(number=number, want=want, cpus=want if number > WANTS + 1 else 1)
        body = ExchangeBody(ack=number - 1, claim=claim)
        if number % 2 == 0:
            # As a held call is answered, in the transaction of another.
            exchange(core, pilot, secret, ExchangeBody(ack=number - 1, reports=reports))
            reply = core.commit(Change.of(Call(core, pilot, secret, body, held=True)), small=True).reply
        else:
            reply = exchange(core, pilot, secret, body.model_copy(update={"reports": reports}))
        if not reply.jobs:
            return number - 2
        order = reply.jobs[0]
        started = AttemptReport(attempt=order.attempt, token=order.token, kind="started")
        if number > 2:
            # A short payload's start and end come in one report.
            exchange(core, pilot, secret, ExchangeBody(ack=number, reports=[started]))
        place = f"/{NAME}/{order.workflow}/{order.job_name}/{order.attempt}"
        made = [OutputReport(name=one.name, path=f"{place}/{one.path}", size=0) for one in order.outputs]
        reports = [started.model_copy(update={"kind": "succeeded", "wall": 0.0, "outputs": made})]
    raise AssertionError(f"jobs of the rehearsal come back after {CLAIMS} claims")


def _send_for_nobody(core: Core, connection: sa.Connection) -> Callable[[], None]:
    """Look up a token as submissions do, and leave it at that."""
    send_for_who(core, connection, NAME, Who(NAME, Role.SUBMITTER))
    return lambda: None


def _load(core: Core, jobtype: str) -> None:
    """Load a workflow; load another that is held, let it go, as a request with a key does, and look at it."""
    load_workflow(core, LoadBody(uuid=str(uuid.uuid4()), text=SHORT), NAME)
    body = LoadBody(uuid=str(uuid.uuid4()), text=TEXT.format(jobtype=jobtype), hold=True)
    ident = load_workflow(core, body, NAME).uuid
    with core.db.read() as connection:
        row = find_row(connection, "workflow", ident, owner=NAME)
    mark = CURRENT.set(make_keyed(NAME, ident, NAME, b""))
    try:
        start_workflow(core, row.id, NAME)
    finally:
        CURRENT.reset(mark)
    with core.db.read() as connection:
        view_workflow(connection, row.id).model_dump_json()
