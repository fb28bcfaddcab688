"""``p3s purge``: move finished work into the archive, and let go of what is old."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from p3s.cli.common import add_example, add_output_options, add_server_option, connect
from p3s.cli.output import Columns, clean_text, format_size, print_items, print_json, tell
from p3s.cli.values import DURATION
from p3s.engine.purging import PurgeKind
from p3s.engine.states import FINAL_WORKFLOW, DatasetState, PilotState

if TYPE_CHECKING:
    from p3s.wire import PurgeReply

__all__ = ["purge"]

_COLUMNS: Columns = {
    "WHAT": lambda item: item.what,
    "NUMBER": lambda item: str(item.number),
    "JOBS": lambda item: str(item.jobs) if item.jobs else "-",
    "SIZE": lambda item: f"{'about ' if item.estimated else ''}{format_size(item.size)}" if item.size else "-",
}


@add_example(
    "p3s purge --older 30d",
    "p3s purge --older 90d --what jobs --state failed --yes",
    "p3s purge --older 90d --what datasets --state deleted --yes",
    "p3s purge --older 2y --what archive --yes",
)
@click.command()
@click.option(
    "--what",
    multiple=True,
    type=click.Choice([kind.value for kind in PurgeKind]),
    help="What; may be repeated. By default workflows and jobs.",
)
@click.option("--older", type=DURATION, default="30d", show_default=True, help="Ended, or made, so long ago.")
@click.option(
    "--state",
    type=click.Choice(
        list(
            dict.fromkeys(
                [*sorted(FINAL_WORKFLOW), PilotState.STOPPED.value, PilotState.TIMEOUT.value, *sorted(DatasetState)]
            )
        )
    ),
    help="Only those in this state.",
)
@click.option("--owner", help="Only those of this owner.")
@click.option("--name", help="Only workflows and standalone jobs of this name.")
@click.option("-y", "--yes", is_flag=True, help="Do it.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing; also without --yes.")
@add_output_options
@add_server_option
def purge(
    what: tuple[str, ...],
    older: float,
    state: str | None,
    owner: str | None,
    name: str | None,
    url: str | None,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Archive finished work, and delete what is old.

    Workflows and jobs that have ended move into the archive, where they can be shown and take a fraction of the room;
    all else is deleted. Files that jobs made stay where they are. Nothing is done without --yes.
    """
    from p3s.wire import PurgeBody  # noqa: PLC0415 - a mistyped command need not wait for it

    client = connect(url)
    kinds = what or (PurgeKind.WORKFLOWS, PurgeKind.JOBS)
    body = PurgeBody.model_validate({"what": list(kinds), "older": older, "state": state, "owner": owner, "name": name})
    doing = yes and not dry_run
    reply = client.purge(body.model_copy(update={"dry_run": not doing}))
    while reply.more:
        if not as_json and not quiet:
            tell(f"{sum(item.number for item in reply.items)} done on {client.url}, going on")
        following = client.purge(body.model_copy(update={"dry_run": False, "after": reply.after}))
        reply = _add(reply, following)
    if as_json:
        print_json(reply)
        return 0
    print_items(reply.items, _COLUMNS, noun="kinds", as_json=False, quiet=quiet, ident=lambda item: item.what)
    for line in reply.left:
        tell(clean_text(line))
    if not doing and not quiet:
        tell(f"nothing was done on {client.url}; --yes does it")
    return 0


def _add(done: PurgeReply, more: PurgeReply) -> PurgeReply:
    """Return what two answers did together; what the second one leaves is what is left."""
    items = [
        new.model_copy(
            update={"number": old.number + new.number, "jobs": old.jobs + new.jobs, "size": old.size + new.size}
        )
        for old, new in zip(done.items, more.items, strict=True)
    ]
    return more.model_copy(update={"items": items})
