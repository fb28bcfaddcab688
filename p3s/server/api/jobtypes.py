"""Routes of jobtypes, and of what is done to many jobs at once."""

from __future__ import annotations

from p3s.server.api.frame import caller, core, endpoint
from p3s.server.auth import Role
from p3s.server.queries.jobtypes import list_jobtypes as query_jobtypes
from p3s.server.usecases import jobs
from p3s.wire import (
    AdjustBody,
    CancelJobsReply,
    JobsBody,
    JobtypeList,
    LimitBody,
    ManyReply,
    RetryJobsReply,
)


@endpoint("POST", "/jobs/adjust", takes=AdjustBody, gives=ManyReply)
def adjust_jobs(body: AdjustBody) -> ManyReply:
    """Change the priority or time limit of jobs, hold them or let them go."""
    return jobs.adjust_jobs(core(), body, caller().name, admin=caller().role is Role.ADMIN)


@endpoint("POST", "/jobs/cancel", takes=JobsBody, gives=CancelJobsReply)
def cancel_jobs(body: JobsBody) -> CancelJobsReply:
    """Cancel jobs; running payloads are told to stop."""
    return jobs.cancel_jobs(core(), body.jobs, caller().name, admin=caller().role is Role.ADMIN)


@endpoint("POST", "/jobs/retry", takes=JobsBody, gives=RetryJobsReply)
def retry_jobs(body: JobsBody) -> RetryJobsReply:
    """Run jobs again that failed, or were cancelled or skipped, with the skipped ones below them."""
    return jobs.retry_jobs(core(), body.jobs, caller().name, admin=caller().role is Role.ADMIN)


@endpoint("POST", "/jobs/delete", takes=JobsBody, gives=ManyReply)
def delete_jobs(body: JobsBody) -> ManyReply:
    """Forget standalone jobs that have ended or never started."""
    return jobs.delete_jobs(core(), body.jobs, caller().name, admin=caller().role is Role.ADMIN)


@endpoint("GET", "/jobtypes", gives=JobtypeList)
def list_jobtypes() -> JobtypeList:
    """List jobtypes with their caps and what is open of them."""
    with core().db.read() as connection:
        return query_jobtypes(connection)


@endpoint("PUT", "/jobtypes/<name>", takes=LimitBody, gives=JobtypeList)
def limit_jobtype(name: str, body: LimitBody) -> JobtypeList:
    """Cap a jobtype; 0 suspends it, null lifts the cap."""
    jobs.limit_jobtype(core(), name, body.cap, caller().name)
    with core().db.read() as connection:
        return query_jobtypes(connection)
