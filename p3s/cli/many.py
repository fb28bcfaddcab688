"""``p3s job adjust``, ``cancel``, ``retry`` and ``delete``: jobs given by id, or all that fit a selection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from p3s.cli.common import (
    LARGEST_PAGE,
    add_confirm_options,
    add_example,
    add_output_options,
    add_server_option,
    add_state_option,
    confirm_action,
    connect,
)
from p3s.cli.output import clean_text, format_count, print_json, shorten_id, tell
from p3s.cli.progress import show_progress
from p3s.cli.values import DURATION
from p3s.engine.states import FINAL_JOB, JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from p3s.client import Client
    from p3s.wire import JobView, ManyReply

__all__ = ["adjust", "cancel", "delete", "retry"]

F = TypeVar("F", bound="Callable[..., Any]")
R = TypeVar("R", bound="ManyReply")

#: States that a selection means which names none: what can be cancelled, and what is retried, upon which what was
#: skipped for it goes along.
OPEN_JOB = frozenset(JobState) - FINAL_JOB
AGAIN = frozenset({JobState.FAILED, JobState.CANCELLED})

#: Jobs that the question before an action spells out.
SHOWN = 20


def add_selection(function: F) -> F:
    """Give a command ids of jobs, or what they must be like."""
    for option in (
        click.option("--older", type=DURATION, help="Only those created longer ago than this, such as 2d."),
        click.option("--owner", help="Only those of this owner."),
        click.option("--jobtype", help="Only those of this jobtype."),
        add_state_option(JobState),
        click.option("--uuid", metavar="PREFIX", help="Only those whose ids begin so."),
        click.option("--workflow", metavar="ID", help="Only those of this workflow."),
        click.argument("idents", metavar="[ID]...", nargs=-1),
    ):
        function = option(function)
    return function


@add_example(
    "p3s job adjust --priority 9 4f3a",
    "p3s job adjust --hold --jobtype larsoft --state defined --dry-run",
    "p3s job adjust --release --yes --jobtype larsoft",
)
@click.command()
@add_selection
@click.option("--priority", type=click.IntRange(-1_000_000, 1_000_000), help="A higher one runs first.")
@click.option("--timelimit", type=DURATION, help="How long it may run, such as 10m.")
@click.option("--hold/--release", "hold", default=None, help="Keep it from being given out, or let it go on.")
@add_confirm_options
@add_output_options
@add_server_option
def adjust(
    idents: tuple[str, ...],
    priority: int | None,
    timelimit: float | None,
    hold: bool | None,  # noqa: FBT001 - click passes it by name
    url: str | None,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **fit: Any,
) -> int:
    """Change the priority or time limit of jobs, or hold them.

    Jobs are given by ID, or selected by the options. What has ended stays as it is; a payload that runs keeps its
    time limit.
    """
    if priority is None and timelimit is None and hold is None:
        raise click.UsageError("say what to change: --priority, --timelimit, --hold or --release")
    client = connect(url)
    # One job by its id needs no question: nothing is lost by it.
    found = _select(client, idents, fit)
    if not found or ((not idents or dry_run) and not _confirm("adjust", found, client, yes=yes, dry_run=dry_run)):
        return 0 if dry_run or not found else 1

    def act(uuids: list[str]) -> ManyReply:
        return client.adjust_jobs(uuids, priority=priority, timelimit=timelimit, hold=hold)

    return _act(found, act, "adjusted", as_json=as_json, quiet=quiet)[0]


@add_example("p3s job cancel 4f3a", "p3s job cancel --yes @last/track-u", "p3s job cancel --jobtype larsoft --older 2d")
@click.command()
@add_selection
@add_confirm_options
@add_output_options
@add_server_option
def cancel(
    idents: tuple[str, ...],
    url: str | None,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **fit: Any,
) -> int:
    """Cancel jobs; what runs is stopped.

    Jobs are given by ID, or selected by the options; of a selection, those that have ended stay as they are.
    """
    client = connect(url)
    found = _select(client, idents, fit, among=OPEN_JOB)
    if not found or not _confirm("cancel", found, client, yes=yes, dry_run=dry_run):
        return 0 if dry_run or not found else 1

    code, replies = _act(found, client.cancel_jobs, "cancelled", as_json=as_json, quiet=quiet)
    stopping = sum(reply.stopping for reply in replies)
    if stopping and not quiet:
        tell("its payload was told to stop" if stopping == 1 else f"{stopping} payloads were told to stop")
    return code


@add_example("p3s job retry @last", "p3s job retry @last/track-u", "p3s job retry --state failed --jobtype larsoft")
@click.command()
@add_selection
@add_confirm_options
@add_output_options
@add_server_option
def retry(
    idents: tuple[str, ...],
    url: str | None,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **fit: Any,
) -> int:
    """Run jobs again that did not finish.

    They failed, or were cancelled or skipped. The skipped ones that depend on them run again, too. Jobs are given by
    ID, or selected by the options; of a selection, those that finished or have not ended stay as they are.
    """
    client = connect(url)
    # What is named by its id needs no question: nothing is lost by it.
    found = _select(client, idents, fit, among=AGAIN)
    if not found or ((not idents or dry_run) and not _confirm("retry", found, client, yes=yes, dry_run=dry_run)):
        return 0 if dry_run or not found else 1

    code, replies = _act(found, client.retry_jobs, "told to run again", as_json=as_json, quiet=quiet)
    done = [uuid for reply in replies for uuid in reply.done]
    more = sum(reply.jobs for reply in replies) - len(done)
    if done and not quiet:
        if more > 0:
            tell(f"and {format_count(more, 'job')} that had been skipped for want of them")
        tell(f"`p3s why {shorten_id(done[0])}` tells more")
    return code


@add_example("p3s job delete 4f3a", "p3s job delete --state finished --older 7d --dry-run")
@click.command()
@add_selection
@add_confirm_options
@add_output_options
@add_server_option
def delete(
    idents: tuple[str, ...],
    url: str | None,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **fit: Any,
) -> int:
    """Forget standalone jobs that have ended or never started.

    Jobs are given by ID, or selected by the options. Jobs of a workflow go with it only. Files stay.
    """
    client = connect(url)
    found = _select(client, idents, fit)
    if not found or not _confirm("delete", found, client, yes=yes, dry_run=dry_run):
        return 0 if dry_run or not found else 1
    return _act(found, client.delete_jobs, "deleted", as_json=as_json, quiet=quiet)[0]


def _select(
    client: Client, idents: Sequence[str], fit: dict[str, Any], *, among: Collection[str] | None = None
) -> list[JobView]:
    """Return the jobs that are meant: of a selection that names no state, those in the states `among`."""
    given = {name: value for name, value in fit.items() if value is not None}
    if bool(idents) == bool(given):
        raise click.UsageError("give either ids, or a selection such as --state, --jobtype, --owner, --uuid, --older")
    if idents:
        found = {job.uuid: job for job in (client.show_job(ident) for ident in idents)}
        return list(found.values())
    # One state after the other, in the order in which jobs go through them: what has ended by the million is not read.
    states = [state for state in JobState if among is not None and state in among and "state" not in given]
    walks = [client.iterate_jobs(**{**given, "state": state}, limit=LARGEST_PAGE) for state in states]
    jobs = {job.uuid: job for walk in walks or [client.iterate_jobs(**given, limit=LARGEST_PAGE)] for job in walk}
    if not jobs:
        tell("no job fits")
    return list(jobs.values())


def _confirm(action: str, found: Sequence[JobView], client: Client, *, yes: bool, dry_run: bool) -> bool:
    things = [clean_text(f"job {shorten_id(job.uuid)} {job.name} ({job.state})") for job in found[:SHOWN]]
    if len(found) > SHOWN:
        things.append(f"and {len(found) - SHOWN} more, {len(found)} in all")
    return confirm_action(action, things, client.url, yes=yes, dry_run=dry_run)


def _act(
    found: Sequence[JobView], call: Callable[[list[str]], R], done: str, *, as_json: bool, quiet: bool
) -> tuple[int, list[R]]:
    """Act on jobs in requests of bounded size, and print what was done and why not to the others.

    Nothing done is a refusal. Whatever ends it early, what was done until then is told.
    """
    uuids = [job.uuid for job in found]
    replies: list[R] = []
    reached = 0
    try:
        with show_progress(len(uuids), "jobs", quiet=quiet) as advance:
            while reached < len(uuids):
                replies.append(call(uuids[reached : reached + LARGEST_PAGE]))
                reached = min(reached + LARGEST_PAGE, len(uuids))
                advance(reached)
    finally:
        if replies:
            _report(replies, done, as_json=as_json, quiet=quiet)
        if 0 < reached < len(uuids):
            tell(f"{format_count(len(uuids) - reached, 'job')} may not have been reached; give the same command again")
    return 4 if not any(reply.done for reply in replies) else 0, replies


def _report(replies: Sequence[ManyReply], done: str, *, as_json: bool, quiet: bool) -> None:
    uuids = [uuid for reply in replies for uuid in reply.done]
    left = {uuid: why for reply in replies for uuid, why in reply.left.items()}
    if as_json:
        print_json({"done": uuids, "left": left})
    else:
        for uuid in uuids:
            click.echo(uuid)
    if not (as_json or quiet):
        tell(f"{format_count(len(uuids), 'job')} {done}")
        for uuid, why in list(left.items())[:SHOWN]:
            tell(f"job {shorten_id(uuid)} is left as it was: {why}")
        if len(left) > SHOWN:
            tell(f"and {len(left) - SHOWN} more are left as they were; --json names all")
