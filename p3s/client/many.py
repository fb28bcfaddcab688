"""The calls that act on many jobs at once, on jobtypes, and on the numbers of many results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p3s import wire
from p3s.client.base import TIMEOUT, BaseClient, complete_path, join_path
from p3s.client.sending import encode_body

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ManyCalls"]


class ManyCalls(BaseClient):
    """Adjust, cancel, retry and delete jobs, list and limit jobtypes."""

    def adjust_jobs(
        self,
        uuids: Sequence[str],
        *,
        priority: int | None = None,
        timelimit: float | None = None,
        hold: bool | None = None,
    ) -> wire.ManyReply:
        """Change up to 1,000 jobs; `hold` true keeps them from being given out, false lets them go."""
        body = wire.AdjustBody(jobs=list(uuids), priority=priority, timelimit=timelimit, hold=hold)
        return self._post("jobs/adjust", body, wire.ManyReply)

    def cancel_jobs(self, uuids: Sequence[str]) -> wire.CancelJobsReply:
        """Cancel up to 1,000 jobs; running payloads are told to stop."""
        return self._post("jobs/cancel", wire.JobsBody(jobs=list(uuids)), wire.CancelJobsReply)

    def retry_jobs(self, uuids: Sequence[str]) -> wire.RetryJobsReply:
        """Run up to 1,000 jobs again that did not finish, and the skipped ones that depend on them."""
        return self._post("jobs/retry", wire.JobsBody(jobs=list(uuids)), wire.RetryJobsReply)

    def delete_jobs(self, uuids: Sequence[str]) -> wire.ManyReply:
        """Forget up to 1,000 standalone jobs that have ended or never started."""
        return self._post("jobs/delete", wire.JobsBody(jobs=list(uuids)), wire.ManyReply)

    def list_numbers(
        self,
        dag: str,
        *,
        key: str | None = None,
        owner: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> wire.NumberList:
        """Return a page of the numbers in the JSON results of a DAG's workflows, newest first."""
        query = {"key": key, "owner": owner, "limit": limit, "cursor": cursor}
        return self._get(join_path("dags", dag, "numbers"), wire.NumberList, query)

    def list_jobtypes(self) -> wire.JobtypeList:
        """Return the jobtypes with their caps and what is open of them."""
        return self._get("jobtypes", wire.JobtypeList)

    def limit_jobtype(self, name: str, cap: int | None) -> wire.JobtypeList:
        """Let at most `cap` jobs of a type be with pilots at once; 0 suspends it, None lifts the cap."""
        content = encode_body(wire.LimitBody(cap=cap))
        answer = self._sender.send("PUT", complete_path(join_path("jobtypes", name)), content, timeout=TIMEOUT)
        return self._sender.decode(answer, wire.JobtypeList)
