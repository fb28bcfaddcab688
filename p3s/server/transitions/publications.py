"""Who may publish where: a name belongs to the live workflow that took it; one that has ended gives it up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.engine.places import name_site, normalise_place
from p3s.engine.states import FINAL_WORKFLOW
from p3s.errors import Conflict
from p3s.server.db import insert_missing, split_batches
from p3s.server.models import job_spec, publication, workflow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from p3s.server.transitions.ledger import Ledger

__all__ = ["retake_names", "take_names"]


def take_names(ledger: Ledger, workflow_id: int, site: str, places: Iterable[str]) -> None:
    """Take published names for a workflow.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    workflow_id : int
        Who publishes.
    site : str
        Whose pilots do: the paths of another site are others.
    places : iterable of str
        At most some hundred.

    Raises
    ------
    Conflict
        If a live workflow has one of them.
    """
    normal = {normalise_place(place) for place in places}
    rows = [{"site": name_site(place, site), "place": place, "workflow_id": workflow_id} for place in sorted(normal)]
    for batch in split_batches(rows):
        # Whoever takes a name at the same moment waits here for the other's commit, and then reads its row.
        insert_missing(ledger.connection, publication, list(batch))
        sites, names = {row["site"] for row in batch}, [row["place"] for row in batch]
        taken = ledger.connection.execute(
            sa.select(publication.c.id, publication.c.place, workflow.c.uuid, workflow.c.name, workflow.c.state)
            .join(workflow, workflow.c.id == publication.c.workflow_id)
            .where(
                publication.c.site.in_(sites), publication.c.place.in_(names), publication.c.workflow_id != workflow_id
            )
            .order_by(publication.c.id)
            # A workflow that has ended must not be retried while its name goes to another.
            .with_for_update()
        ).all()
        for row in taken:
            if row.state not in FINAL_WORKFLOW:
                raise Conflict(
                    f"{row.place} is published by workflow {row.uuid[:8]} ({row.name}), which is {row.state}; wait for "
                    "its end, cancel it, or publish under another name (`--names inherit:TEXT`, `--files`)"
                )
        if taken:
            mine = publication.c.id.in_([row.id for row in taken])
            ledger.connection.execute(sa.update(publication).where(mine).values(workflow_id=workflow_id))


def retake_names(ledger: Ledger, jobs: Mapping[int, int]) -> None:
    """Take anew what jobs publish that run again: their workflows had ended, and others may have the names now.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    jobs : mapping of int to int
        Each with its workflow.

    Raises
    ------
    Conflict
        If a live workflow has one of them.
    """
    places: dict[int, set[str]] = {}
    wanted = sa.select(job_spec.c.job_id, job_spec.c.body)
    for batch in split_batches(sorted(jobs)):
        for row in ledger.connection.execute(wanted.where(job_spec.c.job_id.in_(batch))):
            if published := row.body.get("publish"):
                places.setdefault(jobs[row.job_id], set()).update(published.values())
    for workflow_id, names in sorted(places.items()):
        site = ledger.connection.scalar(sa.select(workflow.c.site).where(workflow.c.id == workflow_id))
        take_names(ledger, workflow_id, site or "default", names)
