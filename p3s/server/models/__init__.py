"""The tables. Times are seconds since 1970-01-01 UTC by the server's clock; states are text of `engine.states`."""

from p3s.server.models.archive import archive, archive_blob, archive_item, archive_job, archive_part
from p3s.server.models.base import metadata
from p3s.server.models.data import arrival, datatype, publication, removal, service
from p3s.server.models.limits import jobtype
from p3s.server.models.runs import attempt, attempt_log, host, pilot, process
from p3s.server.models.series import minute
from p3s.server.models.sites import site
from p3s.server.models.stored import blob, blob_number, bundle, bundle_file, dag, event, meta, repeat, runtime, token
from p3s.server.models.work import dataset, job, job_input, job_need, job_spec, origin, requirement, ripple, workflow

__all__ = [
    "archive",
    "archive_blob",
    "archive_item",
    "archive_job",
    "archive_part",
    "arrival",
    "attempt",
    "attempt_log",
    "blob",
    "blob_number",
    "bundle",
    "bundle_file",
    "dag",
    "dataset",
    "datatype",
    "event",
    "host",
    "job",
    "job_input",
    "job_need",
    "job_spec",
    "jobtype",
    "meta",
    "metadata",
    "minute",
    "origin",
    "pilot",
    "process",
    "publication",
    "removal",
    "repeat",
    "requirement",
    "ripple",
    "runtime",
    "service",
    "site",
    "token",
    "workflow",
]
