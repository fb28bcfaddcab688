"""From files here to requests there: read a YAML and what belongs to it, and hand it to the server.

The server never looks at a file system. So whoever submits reads the text and its bundle, and looks where the
external data is.

>>> from p3s.client import Client
>>> from p3s.submit import prepare_load
>>> client = Client("http://127.0.0.1:8440", "the token")
>>> body = prepare_load("workflows/quickstart.yaml", {})  # doctest: +SKIP
>>> reply = client.load_workflow(body)  # doctest: +SKIP
"""

from p3s.submit.files import compute_checksum, locate_externals, read_bundle, read_file
from p3s.submit.jobs import check_payloads, name_jobs, prepare_jobs, read_standalone, submit_jobs
from p3s.submit.overriding import Changes, read_objects
from p3s.submit.sites import read_site
from p3s.submit.variants import make_variants
from p3s.submit.workflows import check_file, load_beside_files, prepare_load, prepare_plan, read_dag_file, submit_dag

__all__ = [
    "Changes",
    "check_file",
    "check_payloads",
    "compute_checksum",
    "load_beside_files",
    "locate_externals",
    "make_variants",
    "name_jobs",
    "prepare_jobs",
    "prepare_load",
    "prepare_plan",
    "read_bundle",
    "read_dag_file",
    "read_file",
    "read_objects",
    "read_site",
    "read_standalone",
    "submit_dag",
    "submit_jobs",
]
