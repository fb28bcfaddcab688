"""The client: one method per route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from p3s import wire
from p3s.client.base import TIMEOUT, join_path
from p3s.client.data import DataCalls
from p3s.client.holds import HoldCalls
from p3s.client.many import ManyCalls
from p3s.client.sites import SiteCalls
from p3s.client.tokens import TokenCalls
from p3s.client.upkeep import UpkeepCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from p3s.client.answer import Sent

__all__ = ["Client"]

Item = TypeVar("Item")

#: Seconds on top of a call's own wait, for an answer on a slow network.
SLACK = 20.0


class _Page(Protocol[Item]):
    @property
    def items(self) -> list[Item]: ...

    @property
    def next(self) -> str | None: ...


class Client(HoldCalls, ManyCalls, TokenCalls, SiteCalls, DataCalls, UpkeepCalls):
    """Speaks with one p3s server in the name of one token.

    Every method raises a leaf of `p3s.errors`: what the server refused, `Unreachable` if no answer came,
    `BadReply` if something else than a p3s server answered. Requests that a lost reply makes uncertain are repeated by
    themselves: they carry a uuid or a key by which the server knows them, and does them once.

    Parameters
    ----------
    url : str
        The server's address, such as ``http://127.0.0.1:8440``.
    token : str, optional
        Whose requests these are.
    transport : Transport, optional
        What carries them; chosen by `url` if not given.

    Examples
    --------
    >>> Client("http://127.0.0.1:8440", "a secret")
    Client('http://127.0.0.1:8440')
    """

    # The server itself ----------------------------------------------------------------------------

    def check_health(self, timeout: float = 5.0) -> bool:
        """Return whether a p3s server answers, without a token."""
        return self._sender.send("GET", "/healthz", timeout=timeout, tries=1).status == 200

    def ask_who(self) -> wire.WhoReply:
        """Return who the token says you are."""
        return self._get("who", wire.WhoReply)

    def ask_status(self) -> wire.StatusReply:
        """Return counts by state and the server's own facts."""
        return self._get("status", wire.StatusReply)

    def explain(self, thing: str) -> wire.WhyReply:
        """Return one sentence that says why `thing` is where it is."""
        return self._get(join_path("why", thing), wire.WhyReply)

    # Workflows ------------------------------------------------------------------------------------

    def load_workflow(self, body: wire.LoadBody) -> wire.LoadReply:
        """Start a workflow; the body's uuid makes a repeat harmless."""
        return self._post("workflows", body, wire.LoadReply, keyed=False)

    def list_workflows(
        self,
        *,
        state: str | None = None,
        owner: str | None = None,
        name: str | None = None,
        archived: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> wire.WorkflowList:
        """Return a page of workflows, newest first; or of those in the archive."""
        query = {"state": state, "owner": owner, "name": name, "archived": archived, "limit": limit, "cursor": cursor}
        return self._get("workflows", wire.WorkflowList, query)

    def iterate_workflows(
        self, *, state: str | None = None, owner: str | None = None, name: str | None = None
    ) -> Iterator[wire.WorkflowView]:
        """Yield all workflows, newest first."""
        return _walk(lambda cursor: self.list_workflows(state=state, owner=owner, name=name, cursor=cursor))

    def show_workflow(self, ident: str) -> wire.WorkflowView:
        """Return one workflow."""
        return self._get(join_path("workflows", ident), wire.WorkflowView)

    def start_workflow(self, ident: str) -> wire.WorkflowView:
        """Let a held workflow go."""
        return self._post(join_path("workflows", ident, "start"), None, wire.WorkflowView)

    def cancel_workflow(self, ident: str, *, timeout: float = TIMEOUT) -> wire.CancelReply:
        """Cancel what is not final in a workflow."""
        return self._post(join_path("workflows", ident, "cancel"), None, wire.CancelReply, timeout=timeout)

    def delete_workflow(self, ident: str) -> None:
        """Delete a workflow that is final or held."""
        self._delete(join_path("workflows", ident))

    def list_results(self, ident: str) -> wire.ResultList:
        """Return a workflow's result files."""
        return self._get(join_path("workflows", ident, "results"), wire.ResultList)

    def show_graph(self, ident: str) -> wire.GraphView:
        """Return a workflow's jobs, datasets and edges."""
        return self._get(join_path("workflows", ident, "graph"), wire.GraphView)

    # DAGs -----------------------------------------------------------------------------------------

    def list_dags(
        self,
        *,
        name: str | None = None,
        owner: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> wire.DagList:
        """Return a page of stored DAGs."""
        return self._get("dags", wire.DagList, {"name": name, "owner": owner, "limit": limit, "cursor": cursor})

    def iterate_dags(self, *, name: str | None = None, owner: str | None = None) -> Iterator[wire.DagView]:
        """Yield all stored DAGs."""
        return _walk(lambda cursor: self.list_dags(name=name, owner=owner, cursor=cursor))

    def show_dag(self, name: str, *, version: int | None = None, owner: str | None = None) -> wire.DagView:
        """Return one DAG with its text, the newest version by default."""
        return self._get(join_path("dags", name), wire.DagView, {"version": version, "owner": owner})

    def show_bundle(self, name: str, *, version: int | None = None) -> wire.BundleList:
        """Return the small files that travel with a DAG."""
        return self._get(join_path("dags", name, "bundle"), wire.BundleList, {"version": version})

    def delete_dag(self, name: str, *, version: int | None = None) -> None:
        """Delete a stored DAG, or one version of it."""
        self._delete(join_path("dags", name), {"version": version})

    # Jobs -----------------------------------------------------------------------------------------

    def create_jobs(self, jobs: Iterable[wire.StandaloneJob]) -> wire.CreateJobsReply:
        """Create standalone jobs, all or none; their uuids make a repeat harmless."""
        return self._post("jobs", wire.CreateJobsBody(jobs=list(jobs)), wire.CreateJobsReply, keyed=False)

    def list_jobs(
        self,
        *,
        workflow: str | None = None,
        state: str | None = None,
        jobtype: str | None = None,
        owner: str | None = None,
        name: str | None = None,
        uuid: str | None = None,
        older: float | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> wire.JobList:
        """Return a page of jobs; `uuid` is how their ids begin, `older` seconds since they were created."""
        query = {"workflow": workflow, "state": state, "jobtype": jobtype, "owner": owner, "name": name}
        return self._get("jobs", wire.JobList, query | {"uuid": uuid, "older": older, "limit": limit, "cursor": cursor})

    def iterate_jobs(
        self,
        *,
        workflow: str | None = None,
        state: str | None = None,
        jobtype: str | None = None,
        owner: str | None = None,
        name: str | None = None,
        uuid: str | None = None,
        older: float | None = None,
        limit: int | None = None,
    ) -> Iterator[wire.JobView]:
        """Yield all jobs that fit, `limit` to a page."""
        fit = {"workflow": workflow, "state": state, "jobtype": jobtype, "owner": owner, "name": name, "uuid": uuid}
        return _walk(lambda cursor: self.list_jobs(**fit, older=older, limit=limit, cursor=cursor))

    def show_job(self, ident: str) -> wire.JobView:
        """Return one job with its attempts, datasets and story; `ident` may be ``WORKFLOW/JOB``."""
        return self._get(join_path("jobs", ident), wire.JobView)

    def read_log(
        self,
        ident: str,
        *,
        stream: str = "stdout",
        attempt: int | None = None,
        offset: int | None = None,
        watch: bool = False,
    ) -> wire.LogView:
        """Return a piece of an attempt's output; `watch` asks its pilot for what is new."""
        query = {"stream": stream, "attempt": attempt, "offset": offset, "watch": watch}
        return self._get(join_path("jobs", ident, "log"), wire.LogView, query)

    def cancel_job(self, ident: str) -> wire.CancelReply:
        """Cancel a job; a payload that runs is stopped."""
        return self._post(join_path("jobs", ident, "cancel"), None, wire.CancelReply)

    # Datasets -------------------------------------------------------------------------------------

    def register_dataset(self, body: wire.RegisterDatasetBody) -> wire.DatasetView:
        """Say that data is there; equal content at the same place again answers the same dataset."""
        return self._post("datasets", body, wire.DatasetView, keyed=False)

    def list_datasets(
        self,
        *,
        workflow: str | None = None,
        state: str | None = None,
        datatype: str | None = None,
        place: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> wire.DatasetList:
        """Return a page of datasets, newest first."""
        query = {"workflow": workflow, "state": state, "type": datatype, "place": place}
        return self._get("datasets", wire.DatasetList, query | {"limit": limit, "cursor": cursor})

    def iterate_datasets(self, *, workflow: str | None = None, state: str | None = None) -> Iterator[wire.DatasetView]:
        """Yield all datasets that fit."""
        return _walk(lambda cursor: self.list_datasets(workflow=workflow, state=state, cursor=cursor))

    def show_dataset(self, ident: str) -> wire.DatasetView:
        """Return one dataset with who made it, who reads it, and why it is where it is."""
        return self._get(join_path("datasets", ident), wire.DatasetView)

    def adjust_dataset(self, ident: str, body: wire.AdjustDatasetBody) -> wire.DatasetView:
        """Change what is said of a dataset."""
        return self._post(join_path("datasets", ident, "adjust"), body, wire.DatasetView)

    def delete_dataset(self, ident: str, *, force: bool = False, files: bool = False) -> wire.DeleteDatasetReply:
        """Delete a dataset that nobody needs, by force one that is waited for; `files`: a pilot deletes its file."""
        body = wire.DeleteDatasetBody(force=force, files=files)
        return self._post(join_path("datasets", ident, "delete"), body, wire.DeleteDatasetReply)

    # Pilots ---------------------------------------------------------------------------------------

    def list_pilots(
        self,
        *,
        state: str | None = None,
        live: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> wire.PilotList:
        """Return a page of pilots; `live` leaves out those that left or fell silent."""
        query = {"state": state, "live": live, "limit": limit, "cursor": cursor}
        return self._get("pilots", wire.PilotList, query)

    def iterate_pilots(self, *, state: str | None = None, live: bool = False) -> Iterator[wire.PilotView]:
        """Yield all pilots that fit."""
        return _walk(lambda cursor: self.list_pilots(state=state, live=live, cursor=cursor))

    def show_pilot(self, ident: str) -> wire.PilotView:
        """Return one pilot."""
        return self._get(join_path("pilots", ident), wire.PilotView)

    def drain_pilot(self, ident: str) -> wire.PilotView:
        """Let a pilot finish what it has, then leave."""
        return self._post(join_path("pilots", ident, "drain"), None, wire.PilotView)

    def kill_pilot(self, ident: str) -> wire.PilotView:
        """Let a pilot stop its payloads and leave."""
        return self._post(join_path("pilots", ident, "kill"), None, wire.PilotView)

    # What pilots call -----------------------------------------------------------------------------

    def register_pilot(self, body: wire.RegisterBody) -> wire.RegisterReply:
        """Make a pilot known and return its secret; the pilot itself tries again, with growing pauses."""
        return self._post("pilots", body, wire.RegisterReply, keyed=False, tries=1)

    def find_leftovers(self, attempts: list[str], *, secret: str) -> list[wire.Leftover]:
        """Return those of the attempts that nothing can come of any more; `secret` is a pilot's own."""
        body = wire.LeftoversBody(attempts=attempts)
        return self._post("leftovers", body, wire.LeftoversReply, keyed=False, tries=1, token=secret).items

    def exchange(self, uuid: str, secret: str, body: wire.ExchangeBody) -> wire.ExchangeReply:
        """Report, acknowledge and ask in one call.

        Parameters
        ----------
        uuid, secret : str
            The pilot's id and its own secret.
        body : ExchangeBody
            Sent once: what a lost reply means only the pilot can say.

        Returns
        -------
        ExchangeReply
            The answer.
        """
        return self.begin_exchange(uuid, secret, body).finish()

    def begin_exchange(self, uuid: str, secret: str, body: wire.ExchangeBody) -> Sent[wire.ExchangeReply]:
        """Send what `exchange` sends as far as that takes no waiting."""
        # Most fields of most calls have their defaults; leaving them out halves the bytes of a busy pilot.
        content = body.model_dump_json(exclude_defaults=True).encode()
        path = f"/api/v1/pilots/{uuid}/exchange"
        sent = self._sender.begin("POST", path, content, timeout=body.wait + SLACK, token=secret)
        return sent.then(lambda answer: self._sender.decode(answer, wire.ExchangeReply))

    def fetch_blob(self, digest: str, *, secret: str | None = None) -> bytes:
        """Return the content that has this SHA-256."""
        return self._sender.send("GET", f"/api/v1/blobs/{digest}", timeout=TIMEOUT, token=secret).body

    def store_blob(self, digest: str, content: bytes, *, secret: str | None = None) -> None:
        """Keep a content on the server under its SHA-256."""
        path, kind = f"/api/v1/blobs/{digest}", "application/octet-stream"
        self._sender.send("PUT", path, content, timeout=TIMEOUT, content=kind, token=secret)


def _walk(ask: Callable[[str | None], _Page[Item]]) -> Iterator[Item]:
    cursor: str | None = None
    while True:
        page = ask(cursor)
        yield from page.items
        cursor = page.next
        if cursor is None:
            return
