"""What pilots say of attempts: taken, or refused and kept as evidence.

A report is hostile input: the attempt exists, its token fits, it is not superseded. Otherwise it changes no job
and no dataset; it ends that attempt, if open, which frees what it held.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from p3s.engine.places import check_location, name_site, normalise_place
from p3s.engine.states import (
    FINAL_JOB,
    INFRASTRUCTURE_REASONS,
    AttemptState,
    DatasetState,
    JobState,
    Reason,
    Signal,
)
from p3s.server.db import Overtaken
from p3s.server.models import attempt, attempt_log, blob, dataset, event, job, job_need, pilot, workflow
from p3s.server.pipeline import Later
from p3s.server.prepared import InsertRows, Prepared, among, param, there_is
from p3s.server.secrets import fits_attempt
from p3s.server.transitions.edges import AHEAD, look_ahead
from p3s.server.transitions.endings import end_attempt_badly
from p3s.server.transitions.hosts import clear_burns, is_burnt, record_burn
from p3s.server.transitions.ledger import Preset
from p3s.server.transitions.spread import FinishedJob, end_jobs, finish_jobs
from p3s.wire import AttemptReport, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from p3s.server.transitions.endings import ReportRules
    from p3s.server.transitions.ledger import Ledger, Moving

__all__ = ["Looked", "Sheaf", "look_up", "take_reports"]

_OPEN = {AttemptState.DISPATCHED, AttemptState.RUNNING}
_OPEN_JOB = {JobState.DISPATCHED, JobState.RUNNING}


@dataclass(slots=True)
class Sheaf:
    """The reports of one call.

    Attributes
    ----------
    reports : sequence of AttemptReport
        As the pilot sent them.
    cause : str
        Stands in the events.
    verdicts : list of Verdict or None
        What `take_reports` says of each; None if the call cannot be taken along with others.
    """

    reports: Sequence[AttemptReport]
    cause: str
    verdicts: list[Verdict] | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """What was sent for before reports are taken: attempts, and the edges that leave the jobs which succeeded."""

    attempts: Later
    edges: Later


def look_up(ledger: Ledger, reports: Sequence[AttemptReport]) -> Looked:
    """Send for what reports are about, ahead of `take_reports`."""
    none = Later(found=[])
    if not reports:
        return Looked(none, none)
    attempts = _ATTEMPTS.send(ledger.connection, uuids=[report.attempt for report in reports])
    ended = [report.attempt for report in reports if report.kind == "succeeded"]
    return Looked(attempts, look_ahead(ledger, ended) if ended else none)


def take_reports(ledger: Ledger, sheaves: Sequence[Sheaf], looked: Sequence[Looked], rules: ReportRules) -> None:
    """Give verdicts. Plain successes and starts of all are taken together, everything else in turn.

    What is taken in turn locks rows in no order that others keep. So of several sheaves one that has such a report is
    left as it is, for a transaction of its own.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    sheaves : sequence of Sheaf
        Of different pilots; each that was taken has its verdicts then.
    looked : sequence of Looked
        What `look_up` gave, or is remembered, for all reports together.
    rules : ReportRules
        The secret and the budget.
    """
    found = {row.uuid: row for one in looked for row in one.attempts.rows()}
    outputs = _read_expected(ledger, found.values())
    # A call may bring the start and the end of an attempt, and two pilots a result that a dead one of them left.
    times = Counter(report.attempt for sheaf in sheaves for report in sheaf.reports)
    plain: list[_Told] = []
    starts: list[_Told] = []
    for sheaf in sheaves:
        verdicts: dict[int, Verdict] = {}
        mine: dict[bool, list[_Told]] = {True: [], False: []}
        odd: list[tuple[int, AttemptReport]] = []
        for place, report in enumerate(sheaf.reports):
            row = found.get(report.attempt)
            if row is None or not fits_attempt(rules.secret, report.attempt, report.token):
                why = "no such attempt" if row is None else "the token is not this attempt's"
                verdicts[place] = _answer(report, "refused", f"{why}; drop it")
            elif times[report.attempt] == 1 and (
                _is_start(row, report) or _is_plain(ledger, row, report, outputs.get(row.job_id, []))
            ):
                mine[report.kind == "started"].append(_Told(row, report, sheaf.cause))
                verdicts[place] = _answer(report, "accepted")
            else:
                odd.append((place, report))
        if odd and len(sheaves) > 1:
            continue
        for place, report in odd:
            row = found[report.attempt]
            verdicts[place] = _take(ledger, row, report, outputs.get(row.job_id, []), rules)
            if times[report.attempt] > 1:
                found |= {row.uuid: row for row in look_up(ledger, [report]).attempts.rows()}
        starts += mine[True]
        plain += mine[False]
        sheaf.verdicts = [verdicts[place] for place in range(len(sheaf.reports))]
    _begin_together(ledger, starts)
    _succeed_together(ledger, plain, outputs, _sort_edges([one.edges.rows() for one in looked]))


_ATTEMPTS = Prepared(
    sa.select(
        attempt.c.id,
        attempt.c.uuid,
        attempt.c.number,
        attempt.c.state,
        attempt.c.job_id,
        attempt.c.pilot_id,
        job.c.uuid.label("job_uuid"),
        job.c.name.label("job_name"),
        job.c.state.label("job_state"),
        job.c.attempt.label("job_attempt"),
        job.c.failures.label("job_failures"),
        job.c.losses.label("job_losses"),
        job.c.requirement_id,
        pilot.c.site,
        job.c.workflow_id,
        workflow.c.uuid.label("workflow_uuid"),
        there_is(dataset.c.producer_id == job.c.id).label("makes"),
        there_is(job_need.c.parent_id == job.c.id).label("needed"),
    )
    .join(job, job.c.id == attempt.c.job_id)
    .join(workflow, workflow.c.id == job.c.workflow_id)
    .join(pilot, pilot.c.id == attempt.c.pilot_id)
    .where(among(attempt.c.uuid, "uuids"))
)
_EXPECTED = Prepared(
    sa.select(dataset.c.id, dataset.c.name, dataset.c.result, dataset.c.producer_id)
    .where(among(dataset.c.producer_id, "jobs"))
    .order_by(dataset.c.id)
)


def _read_expected(ledger: Ledger, rows: Iterable[Any]) -> dict[int, list[Any]]:
    """Return the datasets that each job is to make."""
    found: dict[int, list[Any]] = {}
    makers = sorted({row.job_id for row in rows if row.makes})
    for row in _EXPECTED.run(ledger.connection, jobs=makers) if makers else ():
        found.setdefault(row.producer_id, []).append(row)
    return found


class _Told(NamedTuple):
    """A report, the attempt that it is about, and who tells it."""

    row: Any
    report: AttemptReport
    cause: str


def _is_start(row: Any, report: AttemptReport) -> bool:
    """Tell whether a report is the start of the job's open attempt, and the first word of it."""
    current = row.job_attempt == row.number and row.job_state == JobState.DISPATCHED
    return report.kind == "started" and row.state == AttemptState.DISPATCHED and current


def _is_plain(ledger: Ledger, row: Any, report: AttemptReport, expected: Sequence[Any]) -> bool:
    """Tell whether a report is the success of the job's open attempt, with all its files."""
    if report.kind != "succeeded" or row.state not in _OPEN:
        return False
    current = row.job_attempt == row.number and row.job_state in _OPEN_JOB
    return current and not _find_wrong_outputs(
        ledger, row, expected, {output.name: output for output in report.outputs}
    )


#: A short payload's start and end come in one report.
_STARTED = param("begun", sa.Double())
_ATTEMPT_ENDED = Preset(started=sa.func.coalesce(attempt.c.started, _STARTED), reason=sa.null())
_JOB_ENDED = Preset(started=sa.func.coalesce(job.c.started, _STARTED), reason=sa.null(), message="")
_DONE = Prepared(
    sa.update(pilot)
    .where(pilot.c.id == param("pilot", sa.BigInteger()))
    .values(done=pilot.c.done + param("n", sa.Integer()))
    .returning(is_burnt(sa.literal_column("pilot.host")).label("burnt"))
)


def _begin_together(ledger: Ledger, starts: Sequence[_Told]) -> None:
    """Take first starts: all of them, or, if something else was quicker, none and then all anew."""
    if not starts:
        return
    causes = {told.row.id: told.cause for told in starts}
    of_jobs = {told.row.job_id: told.cause for told in starts}
    open_attempt, open_job = AttemptState.DISPATCHED, JobState.DISPATCHED
    sent = [
        ledger.send("attempt", sorted(causes), Signal.BEGIN, expected=open_attempt, cause=causes, started=ledger.now),
        ledger.send("job", sorted(of_jobs), Signal.BEGIN, expected=open_job, cause=of_jobs, started=ledger.now),
    ]
    ledger.defer(lambda: _check_moved(sent, 2 * len(starts)))


def _check_moved(sent: Sequence[Moving], number: int) -> None:
    """Check that all that was to move has moved: else what was done on top of that is rolled back with it."""
    if sum(len(one.find_moved()) for one in sent) < number:
        raise Overtaken


def _sort_edges(looks: Sequence[Sequence[Any]]) -> dict[int, list[Any]] | None:
    """Return the edges of some looks by the job that they leave from; None if these are not all."""
    found: dict[int, list[Any]] = {}
    for edges in looks:
        if len(edges) == AHEAD:
            return None
        for edge in edges:
            found.setdefault(edge.source, []).append(edge)
    return found


def _succeed_together(
    ledger: Ledger,
    plain: Sequence[_Told],
    outputs: Mapping[int, Sequence[Any]],
    edges: Mapping[int, Sequence[Any]] | None,
) -> None:
    """Take plain successes: all of them, or, if something else was quicker, none and then all anew."""
    if not plain:
        return
    attempts: dict[AttemptState, dict[int, dict[str, Any]]] = {}
    jobs: dict[JobState, dict[int, dict[str, Any]]] = {}
    made: dict[int, dict[str, Any]] = {}
    makers: dict[int, str] = {}
    for row, report, cause in plain:
        begun = ledger.now - (report.wall or 0.0)
        attempts.setdefault(AttemptState(row.state), {})[row.id] = _measure(ledger, report) | {"begun": begun}
        jobs.setdefault(JobState(row.job_state), {})[row.job_id] = {"begun": begun, "ended": ledger.now}
        described = _describe_outputs(row, report, outputs.get(row.job_id, ()))
        made |= described
        makers |= dict.fromkeys(described, cause)
    causes = {told.row.id: told.cause for told in plain}
    of_jobs = {told.row.job_id: told.cause for told in plain}
    sent = [
        *(
            ledger.send_each("attempt", Signal.SUCCEED, values, expected=state, cause=causes, preset=_ATTEMPT_ENDED)
            for state, values in attempts.items()
        ),
        *(
            ledger.send_each("job", Signal.SUCCEED, values, expected=state, cause=of_jobs, preset=_JOB_ENDED)
            for state, values in jobs.items()
        ),
    ]
    if made:
        there = ledger.send_each("dataset", Signal.REGISTER, made, expected=DatasetState.EXPECTED, cause=makers)
        for ident in sorted(made.keys() - set(there.find_moved())):
            ledger.move("dataset", [ident], Signal.REGISTER, cause=makers, **made[ident])
    done = {
        pilot_id: _DONE.send(ledger.connection, pilot=pilot_id, n=number)
        for pilot_id, number in sorted(Counter(told.row.pilot_id for told in plain).items())
    }
    _keep_tails(ledger, [(told.row, told.report) for told in plain])
    known = {row.job_id: None if edges is None else edges.get(row.job_id, ()) for row, _report, _cause in plain}
    finish_jobs(
        ledger,
        [
            FinishedJob(row.job_id, row.workflow_id, row.needed, row.makes, known[row.job_id])
            for row, _report, _cause in plain
        ],
    )

    def check() -> None:
        _check_moved(sent, 2 * len(plain))
        for pilot_id, later in done.items():
            if later.rows()[0].burnt:
                clear_burns(ledger, pilot_id)

    ledger.defer(check)


def _describe_outputs(row: Any, report: AttemptReport, expected: Sequence[Any]) -> dict[int, dict[str, Any]]:
    made = {output.name: output for output in report.outputs}
    return {
        target.id: {
            "place": made[target.name].path,
            "site": name_site(made[target.name].path, row.site),
            "size": made[target.name].size,
            "checksum": made[target.name].checksum,
            "digest": made[target.name].digest if target.result else None,
        }
        for target in expected
    }


def _take(ledger: Ledger, row: Any, report: AttemptReport, expected: Sequence[Any], rules: ReportRules) -> Verdict:
    current = row.job_attempt == row.number and row.job_state not in FINAL_JOB
    if row.state == AttemptState.STOPPING:
        return _confirm_stop(ledger, row, report)
    if row.state in _OPEN and current:
        match report.kind:
            case "started":
                return _begin(ledger, row, report)
            case "succeeded":
                return _succeed(ledger, row, report, expected, rules)
            case _:
                return _fail(ledger, row, report, rules)
    if report.kind == "started" and (row.state == AttemptState.RUNNING or (row.state == AttemptState.LOST and current)):
        # Lost, it may still succeed late.
        return _answer(report, "repeated")
    if report.kind in {"started", "succeeded"} and row.state == AttemptState.SUCCEEDED:
        # A start may arrive after the success that it came before; "superseded" would drop what was accepted.
        return _answer(report, "repeated")
    if report.kind == "succeeded" and row.state == AttemptState.LOST and current and not _was_refused(ledger, row):
        return _succeed(ledger, row, report, expected, rules)
    if report.kind in {"failed", "handed-back", "stopped"} and row.state not in _OPEN:
        # The attempt has ended already, as the pilot wishes it to be.
        return _answer(report, "repeated", f"the attempt is {row.state}")
    return _supersede(ledger, row, report)


def _was_refused(ledger: Ledger, row: Any) -> bool:
    """Tell whether a success of an attempt was superseded before: the pilot has deleted what it made since then.

    The job may have been retried in between, and the same report come a second time.
    """
    refused = sa.exists().where(event.c.uuid == row.uuid, event.c.noun == "attempt", event.c.signal == "late succeeded")
    return bool(ledger.connection.scalar(sa.select(refused)))


def _begin(ledger: Ledger, row: Any, report: AttemptReport) -> Verdict:
    if not ledger.move("attempt", [row.id], Signal.BEGIN, started=ledger.now):
        return _answer(report, "repeated")
    ledger.move("job", [row.job_id], Signal.BEGIN, started=ledger.now)
    return _answer(report, "accepted")


def _succeed(ledger: Ledger, row: Any, report: AttemptReport, expected: Sequence[Any], rules: ReportRules) -> Verdict:
    made = {output.name: output for output in report.outputs}
    wrong = _find_wrong_outputs(ledger, row, expected, made)
    late = row.state == AttemptState.LOST
    if wrong and not late:
        ended = {"message": wrong, "exit_code": report.exit_code}
        begun = _find_start(ledger, report)
        end_attempt_badly(ledger, row, Signal.FAIL, Reason.MISSING_OUTPUT, rules, begun=begun, **ended)
        return _answer(report, "refused", wrong)
    if wrong:
        return _supersede(ledger, row, report)
    signal = Signal.LATE_SUCCESS if late else Signal.SUCCEED
    begun = ledger.now - (report.wall or 0.0)
    values = _measure(ledger, report) | {"begun": begun}
    state = AttemptState(row.state)
    if not ledger.move("attempt", [row.id], signal, expected=state, preset=_ATTEMPT_ENDED, **values):
        return _supersede(ledger, row, report)
    before = JobState(row.job_state)
    if not ledger.move("job", [row.job_id], signal, expected=before, preset=_JOB_ENDED, begun=begun, ended=ledger.now):
        raise Overtaken  # The job left between the look and the write, so the attempt's move must not stand.
    for ident, values in _describe_outputs(row, report, expected).items():
        ledger.move("dataset", [ident], Signal.REGISTER, **values)
    _DONE.send(ledger.connection, pilot=row.pilot_id, n=1)
    _keep_tails(ledger, [(row, report)])
    clear_burns(ledger, row.pilot_id)
    end_jobs(ledger, [row.job_id])
    return _answer(report, "accepted")


def _fail(ledger: Ledger, row: Any, report: AttemptReport, rules: ReportRules) -> Verdict:
    _keep_tails(ledger, [(row, report)])
    if report.kind in {"handed-back", "stopped"}:
        reason = report.reason or Reason.HANDED_BACK
        end_attempt_badly(ledger, row, Signal.HAND_BACK, reason, rules, message=report.message)
        return _answer(report, "accepted")
    measured = _measure(ledger, report)
    del measured["ended"]
    reason = report.reason or Reason.NONSTARTER
    end_attempt_badly(ledger, row, Signal.FAIL, reason, rules, begun=_find_start(ledger, report), **measured)
    if reason in INFRASTRUCTURE_REASONS:
        record_burn(ledger, row.pilot_id, row.job_id, reason)
    ledger.connection.execute(sa.update(pilot).where(pilot.c.id == row.pilot_id).values(failed=pilot.c.failed + 1))
    return _answer(report, "accepted")


def _find_start(ledger: Ledger, report: AttemptReport) -> float | None:
    """Return when the payload began that a report tells the end of, None if it never did."""
    return None if report.wall is None else ledger.now - report.wall


def _confirm_stop(ledger: Ledger, row: Any, report: AttemptReport) -> Verdict:
    if report.kind != "started":
        _keep_tails(ledger, [(row, report)])
        ledger.move("attempt", [row.id], Signal.STOP, ended=ledger.now)
    if report.kind == "stopped":
        return _answer(report, "accepted")
    return _supersede(ledger, row, report)


def _supersede(ledger: Ledger, row: Any, report: AttemptReport) -> Verdict:
    why = f"the attempt is {row.state}, its job {row.job_state} at attempt {row.job_attempt}"
    ledger.note("attempt", row.uuid, f"late {report.kind}", before=row.state, after=row.state, cause=why)
    if row.state in _OPEN:
        ledger.move("attempt", [row.id], Signal.CANCEL)
        ledger.move("attempt", [row.id], Signal.STOP, ended=ledger.now)
    return _answer(report, "superseded", f"superseded: stop; {why}")


def _find_wrong_outputs(ledger: Ledger, row: Any, expected: Sequence[Any], made: dict[str, Any]) -> str:
    """Return what is wrong with the files of a success, or an empty text (promise 3)."""
    fence = f"/{row.workflow_uuid}/{row.job_name}/{row.uuid}/"
    missing = sorted(target.name for target in expected if target.name not in made)
    if missing:
        return f"the report names no file for {', '.join(missing)}"
    for target in expected:
        path = made[target.name].path
        if fence not in path or check_location(path) or normalise_place(path) != path:
            return f"output {target.name} at {path} lies outside the attempt's folder ...{fence}"
    digests = {made[target.name].digest for target in expected if target.result} - {None}
    known = (
        set(ledger.connection.scalars(sa.select(blob.c.digest).where(blob.c.digest.in_(digests)))) if digests else set()
    )
    lacking = [target.name for target in expected if target.result and made[target.name].digest not in known]
    return f"the content of result {', '.join(lacking)} was not uploaded" if lacking else ""


def _measure(ledger: Ledger, report: AttemptReport) -> dict[str, Any]:
    return {
        "ended": ledger.now,
        "message": report.message,
        "exit_code": report.exit_code,
        "signal": report.signal,
        "wall": report.wall,
        "cpu_time": report.cpu_time,
        "peak_memory": report.peak_memory,
    }


_DROP_TAILS = Prepared(sa.delete(attempt_log).where(among(attempt_log.c.attempt_id, "attempts")))
_KEEP_TAILS = InsertRows(attempt_log, ("attempt_id", "stream", "start", "data"))


def _keep_tails(ledger: Ledger, ended: Sequence[tuple[Any, AttemptReport]]) -> None:
    tails = [
        {"attempt_id": row.id, "stream": stream, "start": max(0, size - len(data)), "data": data}
        for row, report in ended
        for stream, data, size in (
            ("stdout", report.stdout, report.stdout_size),
            ("stderr", report.stderr, report.stderr_size),
        )
        if data
    ]
    if tails:
        # What was sent while somebody watched is replaced by the end of the whole.
        _DROP_TAILS.send(ledger.connection, attempts=sorted({tail["attempt_id"] for tail in tails}))
        _KEEP_TAILS.run(ledger.connection, tails)


def _answer(report: AttemptReport, verdict: str, message: str = "") -> Verdict:
    return Verdict.model_validate(
        {"attempt": report.attempt, "kind": report.kind, "verdict": verdict, "message": message}
    )
