"""What may be done from a page: forms that call the use cases of the API, and say what came of it.

Who may is asked twice: the table of roles lets a caller pass, and whoever owns the object may change it. A form is
refused with a page that says why, and nothing is changed then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import flash, redirect, request
from pydantic import ValidationError

from p3s.engine.states import PilotStatus
from p3s.engine.units import parse_duration
from p3s.errors import BadInput, Conflict, Problem, Refused
from p3s.server.auth import require_owner
from p3s.server.monitor.frame import blueprint, caller, choose_own, core, is_admin
from p3s.server.queries.find import find_row
from p3s.server.usecases import acts, holds, jobs, load
from p3s.wire import AdjustBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.wrappers import Response

__all__: list[str] = []

#: Rows that one form may tick.
MANY = 1000


@blueprint.post("/workflows/bulk")
def change_workflows() -> Response:
    """Cancel or retry the workflows that were ticked."""
    act = _choose({"cancel": _cancel_workflow, "retry": _retry_workflow})
    return _change_many("workflow", act)


@blueprint.post("/jobs/bulk")
def change_jobs() -> Response:
    """Cancel or retry the jobs that were ticked."""
    act = _choose({"cancel": _cancel_job, "retry": _retry_job})
    return _change_many("job", act)


@blueprint.post("/workflows/<ident>/<any(start, pause, resume, retry, cancel, delete):act>")
def change_workflow(ident: str, act: str) -> Response:
    """Start, pause, resume, retry, cancel or delete a workflow."""
    row = _find("workflow", ident)
    told = {
        "start": _start_workflow,
        "pause": _pause_workflow,
        "resume": _resume_workflow,
        "retry": _retry_workflow,
        "cancel": _cancel_workflow,
        "delete": _delete_workflow,
    }[act](row)
    return _tell(told, "/workflows" if act == "delete" else f"/workflows/{row.uuid}")


@blueprint.post("/jobs/<path:ident>/<any(retry, cancel, adjust, hold, release):act>")
def change_job(ident: str, act: str) -> Response:
    """Retry, cancel, adjust, hold or release a job."""
    row = _find("job", ident)
    doers: dict[str, Callable[[Any], str]] = {
        "retry": _retry_job,
        "cancel": _cancel_job,
        "adjust": _adjust_job,
        "hold": lambda row: _hold_job(row, hold=True),
        "release": lambda row: _hold_job(row, hold=False),
    }
    return _tell(doers[act](row), f"/jobs/{row.uuid}")


@blueprint.post("/pilots/<ident>/<any(drain, kill):act>")
def change_pilot(ident: str, act: str) -> Response:
    """Drain or kill a pilot."""
    with core().db.read() as connection:
        row = find_row(connection, "pilot", ident)
    acts.end_pilot(core(), row, PilotStatus(act.upper()), caller().name)
    what = "finishes what it runs and leaves" if act == "drain" else "stops its payloads and leaves"
    return _tell(f"Pilot {row.name} {what}, as soon as it hears of it.", f"/pilots/{row.uuid}")


@blueprint.post("/hosts/<name>/<any(ban, allow):act>")
def change_host(name: str, act: str) -> Response:
    """Give a host no more jobs, or jobs again."""
    if act == "ban":
        acts.ban_host(core(), name, request.form.get("reason", "").strip() or f"by {caller().name}", caller().name)
        return _tell(f"Host {name} gets no more jobs.", "/hosts")
    acts.ban_host(core(), name, None, caller().name)
    return _tell(f"Host {name} gets jobs again.", "/hosts")


@blueprint.post("/jobtypes/<name>/limit")
def limit_jobtype(name: str) -> Response:
    """Cap a jobtype; 0 suspends it, nothing lifts the cap."""
    text = request.form.get("cap", "").strip()
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadInput([Problem(f"'{text}' is no number of jobs; leave it empty for no cap", where="cap")])
    jobs.limit_jobtype(core(), name, int(text) if text else None, caller().name)
    told = f"At most {text} jobs of type {name} are with pilots at once." if text else f"Jobtype {name} has no cap."
    return _tell(f"Jobtype {name} is suspended." if text == "0" else told, "/jobtypes")


@blueprint.post("/server/<any(pause, resume):act>")
def change_server(act: str) -> Response:
    """Give out no more jobs, or jobs again."""
    if act == "pause":
        holds.pause_server(core(), caller().name)
        return _tell("The server gives out no more jobs; what pilots have, runs on.", "/services")
    holds.resume_server(core(), caller().name)
    return _tell("The server gives out jobs again.", "/services")


def _find(noun: str, ident: str) -> Any:
    """Return the row of an object that the caller may change."""
    with core().db.read() as connection:
        row = find_row(connection, noun, ident, owner=caller().name)
    require_owner(caller(), row.owner, f"{noun} {row.uuid}")
    return row


def _choose(doers: dict[str, Callable[[Any], str]]) -> Callable[[Any], str]:
    act = request.form.get("act", "")
    if act not in doers:
        raise BadInput([Problem(f"'{act}' is not one of {', '.join(doers)}", where="act")])
    return doers[act]


def _change_many(noun: str, act: Callable[[Any], str]) -> Response:
    """Do one thing to each object that was ticked; one that refuses does not keep the others from it."""
    idents = request.form.getlist("id")
    if not 0 < len(idents) <= MANY:
        raise BadInput([Problem(f"{len(idents)} are ticked; tick from 1 to {MANY} and try again", where="id")])
    rows = [_find(noun, ident) for ident in idents]
    refused = []
    for row in rows:
        try:
            act(row)
        except Refused as error:
            refused.append(str(error))
    done = len(rows) - len(refused)
    for problem in refused[:3]:
        flash(problem, "bad")
    verb = request.form["act"]
    return _tell(f"{done} of {len(rows)}: {verb} is done." if done else "", f"/{noun}s")


def _tell(message: str, otherwise: str) -> Response:
    """Go back to the page that the form was on, and say there what was done."""
    if message:
        flash(message, "good")
    return redirect(choose_own(request.form.get("back", ""), otherwise), 303)


def _start_workflow(row: Any) -> str:
    load.start_workflow(core(), row.id, caller().name)
    return f"Workflow {row.name} was let go."


def _pause_workflow(row: Any) -> str:
    holds.pause_workflow(core(), row, caller().name)
    return f"Workflow {row.name} is paused; what pilots have, runs on."


def _resume_workflow(row: Any) -> str:
    holds.resume_workflow(core(), row, caller().name)
    return f"Workflow {row.name} goes on."


def _retry_workflow(row: Any) -> str:
    reply = holds.retry_workflow(core(), row, caller().name)
    return f"{reply.jobs} jobs of workflow {row.name} run again; {reply.kept} that had finished stay."


def _cancel_workflow(row: Any) -> str:
    reply = acts.cancel_workflow(core(), row, caller().name)
    return f"{reply.jobs} jobs of workflow {row.name} were cancelled; {reply.stopping} payloads are being stopped."


def _delete_workflow(row: Any) -> str:
    acts.delete_workflow(core(), row, caller().name)
    return f"Workflow {row.name} was deleted; its files stay."


def _retry_job(row: Any) -> str:
    reply = holds.retry_job(core(), row, caller().name)
    return f"Job {row.name} runs again, {reply.jobs} jobs in all."


def _cancel_job(row: Any) -> str:
    reply = acts.cancel_job(core(), row, caller().name)
    return f"Job {row.name} was cancelled{'; its payload is being stopped' if reply.stopping else ''}."


def _hold_job(row: Any, *, hold: bool) -> str:
    return _adjust(row, AdjustBody(jobs=[row.uuid], hold=hold), "is held" if hold else "goes on")


def _adjust_job(row: Any) -> str:
    given = {name: text for name in ("priority", "timelimit") if (text := request.form.get(name, "").strip())}
    problems = []
    wish: dict[str, float] = {}
    for name, read in (("priority", int), ("timelimit", parse_duration)):
        try:
            wish |= {name: read(given[name])} if name in given else {}
        except ValueError:
            hint = "a whole number" if name == "priority" else "90s, 10m or 1h30m"
            problems.append(Problem(f"'{given[name]}' cannot be read; write {hint}", where=name))
    if problems:
        raise BadInput(problems)
    try:
        body = AdjustBody.model_validate({"jobs": [row.uuid], **wish})
    except ValidationError as error:
        raise BadInput(Problem(item["msg"], where=str(item["loc"][0])) for item in error.errors()) from error
    return _adjust(row, body, "was changed")


def _adjust(row: Any, body: AdjustBody, done: str) -> str:
    reply = jobs.adjust_jobs(core(), body, caller().name, admin=is_admin())
    if row.uuid in reply.left:
        raise Conflict(f"job {row.name} was left as it was: {reply.left[row.uuid]}")
    return f"Job {row.name} {done}."
