"""A request to each route of the API that takes a key, in an order in which each finds what it needs."""

from __future__ import annotations

from typing import Any

from p3s.server.auth import Role
from p3s.server.usecases.sweep import add_events
from tests.support.api import SMALL, UUID

SIGHTING = {"rule": "r", "place": "/data/seen", "stamp": "1", "size": 1, "fate": "too-small"}
SERVICE = {"instance": UUID % 90, "host": "h", "pid": 1, "period": 5, "arriving": True}
PILOT = {"uuid": UUID % 80, "host": "h", "pid": 1, "version": "0", "slots": 1, "cpus": 1}
JOB = {"uuid": UUID % 70, "spec": {"run": "true"}}
WORKFLOW_24: list[Any] = [("/workflows", 24, {}), ("POST", f"/workflows/{UUID % 24}/cancel", {})]
#: A request to each route that takes a key: (endpoint, method, path, body), and what has to be done before.
REQUESTS: list[tuple[str, str, str, Any, list[Any]]] = [
    ("load_workflow", "POST", "/workflows", {"uuid": UUID % 20, "text": SMALL}, []),
    ("start_workflow", "POST", f"/workflows/{UUID % 21}/start", {}, [("/workflows", 21, {"hold": True})]),
    ("cancel_workflow", "POST", f"/workflows/{UUID % 22}/cancel", {}, [("/workflows", 22, {})]),
    ("retry_workflow", "POST", f"/workflows/{UUID % 22}/retry", {}, []),
    ("pause_workflow", "POST", f"/workflows/{UUID % 22}/pause", {}, []),
    ("resume_workflow", "POST", f"/workflows/{UUID % 22}/resume", {}, []),
    ("delete_workflow", "DELETE", f"/workflows/{UUID % 23}", None, [("/workflows", 23, {"hold": True})]),
    ("create_jobs", "POST", "/jobs", {"jobs": [JOB]}, []),
    ("adjust_jobs", "POST", "/jobs/adjust", {"jobs": [UUID % 70], "priority": 3}, []),
    ("cancel_job", "POST", f"/jobs/{UUID % 70}/cancel", {}, []),
    ("retry_job", "POST", f"/jobs/{UUID % 70}/retry", {}, []),
    ("cancel_jobs", "POST", "/jobs/cancel", {"jobs": [UUID % 70]}, []),
    ("retry_jobs", "POST", "/jobs/retry", {"jobs": [UUID % 70]}, []),
    ("delete_jobs", "POST", "/jobs/delete", {"jobs": [UUID % 71]}, [("/jobs", 71, {})]),
    ("register_dataset", "POST", "/datasets", {"place": "/data/raw"}, []),
    ("adjust_dataset", "POST", "/datasets/@last/adjust", {"comment": "good"}, []),
    ("delete_dataset", "POST", "/datasets/@last/delete", {}, []),
    ("delete_datatype", "DELETE", "/datatypes/CSV", None, [("PUT", "/datatypes/CSV", {"ext": ".csv"})]),
    ("record_arrivals", "POST", "/arrivals", {"service": "s", "items": [SIGHTING]}, []),
    ("beat_service", "POST", "/services/s/beat", SERVICE, []),
    ("report_event", "POST", "/events", {"name": "beam", "message": "lost"}, []),
    ("register_pilot", "POST", "/pilots", PILOT, []),
    ("drain_pilot", "POST", f"/pilots/{UUID % 80}/drain", {}, []),
    ("kill_pilot", "POST", f"/pilots/{UUID % 80}/kill", {}, []),
    ("ban_host", "POST", "/hosts/h/ban", {"reason": "burns"}, []),
    ("allow_host", "POST", "/hosts/h/allow", {}, []),
    ("define_site", "POST", "/sites", {"name": "farm"}, []),
    ("delete_site", "DELETE", "/sites/farm", None, []),
    ("create_token", "POST", "/tokens", {"name": "guest", "role": "viewer"}, []),
    ("rotate_token", "POST", "/tokens/guest/rotate", {}, []),
    ("revoke_token", "POST", "/tokens/guest/revoke", {}, []),
    ("pause_server", "POST", "/server/pause", {}, []),
    ("resume_server", "POST", "/server/resume", {}, []),
    ("purge", "POST", "/purge", {"what": ["workflows"], "older": 0, "dry_run": False}, WORKFLOW_24),
    ("delete_dag", "DELETE", "/dags/small", None, []),
]


def prepare(api, first, what, given):
    """Do what a request needs to be done before."""
    if first == "/workflows":
        answer = api.load(what, Role.ADMIN, **given)
    elif first == "/jobs":
        answer = api.call("POST", "/jobs", body={"jobs": [JOB | {"uuid": UUID % what, "hold": True}]})
    else:
        answer = api.call(first, what, body=given)
    # The sweeper of a server does this each five seconds.
    add_events(api.core)
    return answer
