"""The calls that hold back, let go and run again: workflows, jobs, hosts, the server."""

from __future__ import annotations

from p3s import wire
from p3s.client.base import BaseClient, join_path

__all__ = ["HoldCalls"]


class HoldCalls(BaseClient):
    """Pause, resume, retry, ban and allow."""

    def pause_workflow(self, ident: str) -> wire.WorkflowView:
        """Hold back what is not dispatched in a workflow."""
        return self._post(join_path("workflows", ident, "pause"), None, wire.WorkflowView)

    def resume_workflow(self, ident: str) -> wire.WorkflowView:
        """Let a paused workflow go on."""
        return self._post(join_path("workflows", ident, "resume"), None, wire.WorkflowView)

    def retry_workflow(self, ident: str) -> wire.RetryReply:
        """Run again what did not finish in a workflow, keeping what did."""
        return self._post(join_path("workflows", ident, "retry"), None, wire.RetryReply)

    def retry_job(self, ident: str) -> wire.RetryReply:
        """Run a job again that did not finish, and the skipped ones that depend on it."""
        return self._post(join_path("jobs", ident, "retry"), None, wire.RetryReply)

    def pause_server(self) -> wire.StatusReply:
        """Give out no more jobs."""
        return self._post("server/pause", None, wire.StatusReply)

    def resume_server(self) -> wire.StatusReply:
        """Give out jobs again."""
        return self._post("server/resume", None, wire.StatusReply)

    def list_hosts(self) -> wire.HostList:
        """Return the hosts with live pilots, and those that are banned."""
        return self._get("hosts", wire.HostList)

    def ban_host(self, name: str, reason: str = "") -> wire.HostList:
        """Give a host no more jobs."""
        return self._post(join_path("hosts", name, "ban"), wire.BanBody(reason=reason), wire.HostList)

    def allow_host(self, name: str) -> wire.HostList:
        """Give a banned host jobs again."""
        return self._post(join_path("hosts", name, "allow"), None, wire.HostList)
