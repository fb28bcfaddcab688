"""From files to the request that starts work on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p3s.submit import prepare_jobs, prepare_load, read_standalone
from p3s.wire import ExternalMember

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.client import Client
    from p3s.inject.files import Found
    from p3s.inject.rules import Rule

__all__ = ["start_work"]


def start_work(client: Client, rule: Rule, files: Sequence[Found], uuid: str, age: float | None) -> str:
    """Start a rule's workflow or job for files that go together; a repeat with the same uuid starts nothing more.

    Parameters
    ----------
    client : Client
        The server.
    rule : Rule
        The rule that took the files.
    files : sequence of Found
        One, or a whole group.
    uuid : str
        That the workflow or job is to have.
    age : float or None
        How long ago the files arrived: deadlines count from there; None counts from now.

    Returns
    -------
    str
        What was started, for people.

    Raises
    ------
    BadInput
        If the file of the workflow or job is not sound, or does not take these files.
    """
    if rule.spec.job is not None:
        return _start_job(client, rule, files[0], uuid)
    params = {**rule.spec.params, **_take_params(rule, files)}
    body = prepare_load(rule.work, params, site=rule.spec.site)
    externals = dict(body.externals)
    if rule.spec.dataset is not None:
        externals[rule.spec.dataset] = [
            ExternalMember(place=file.place, available=True, size=file.size) for file in files
        ]
    reply = client.load_workflow(body.model_copy(update={"uuid": uuid, "externals": externals, "age": age}))
    return f"workflow {reply.name} {reply.uuid}"


def _take_params(rule: Rule, files: Sequence[Found]) -> dict[str, str]:
    """Return the parameters that the files give; members of a group that differ in one agree on the first's."""
    found = {name: value for name, value in files[0].values.items() if name in rule.given}
    return found if rule.spec.file is None else {**found, rule.spec.file: files[0].place}


def _start_job(client: Client, rule: Rule, file: Found, uuid: str) -> str:
    specs, base = read_standalone(rule.work)
    env = {**specs[0].env, **rule.spec.params, **file.values}
    if rule.spec.file is not None:
        env[rule.spec.file] = file.place
    (job,) = prepare_jobs([specs[0].model_copy(update={"env": env})], base)
    client.create_jobs([job.model_copy(update={"uuid": uuid})])
    return f"job {specs[0].name} {uuid}"
