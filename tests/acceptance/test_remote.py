"""Data at a distance: inputs come from a real S3 server, outputs go to it, and nothing is ever there in part."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.support import await_job, await_workflow, call, create_job, load
from tests.support.folders import find_paths
from tests.support.servers import System, end_process, wait_until
from tests.support.stores import S3Server, XRootDServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, store: S3Server) -> Iterator[System]:
    """A server on SQLite, and one pilot whose outputs go to S3."""
    system = System(tmp_path_factory.mktemp("far"))
    try:
        system.start_server()
        system.start_pilot("--slots", "2", "--data", f"s3://{store.bucket}/p3s", env=store.environ)
        wait_until(lambda: system.client.list_pilots(live=True).items, 30, "the pilot")
        yield system
    finally:
        system.stop()


def test_data_at_urls_from_end_to_end(far: System, store: S3Server) -> None:
    """Inputs come from S3, outputs go there and on to the next job, results to the server, published names to S3."""
    content = b"1\n2\n3\n" * 100_000
    place = store.put("raw/run 7%#.txt", content)
    text = f"""\
name: far
datasets: {{raw: "{place}"}}
results: [sum]
jobs:
  double:
    inputs: [raw]
    outputs: {{hits: sub/hits.txt}}
    run: cat "$raw" "$raw" > "$hits"; echo "$raw"
  add:
    inputs: [hits]
    outputs: {{sum: sum.txt}}
    publish: {{sum: "s3://{store.bucket}/shown/sum.txt"}}
    run: wc -l < "$hits" > "$sum"
"""
    uuid = load(far, text)
    assert await_job(far, f"{uuid}/double", "waiting").state == "waiting"
    call(far, "dataset", "register", f"S3://{store.bucket}/raw/run 7%#.txt")
    assert await_workflow(far, uuid).state == "finished"
    (made,) = far.client.show_job(f"{uuid}/double").outputs
    (attempt,) = far.client.show_job(f"{uuid}/double").attempts
    assert made.place == f"s3://{store.bucket}/p3s/{uuid}/double/{attempt.uuid}/sub/hits.txt"
    assert store.get(made.place) == content * 2
    assert made.checksum == "sha256:" + hashlib.sha256(content * 2).hexdigest()
    # The payload read a file of its sandbox, by the name that it has at the URL.
    seen = call(far, "job", "log", f"{uuid}/double").stdout.strip()
    assert seen.endswith("/run 7%#.txt")
    assert not seen.startswith("s3:")
    (result,) = far.client.list_results(uuid).items
    assert far.client.fetch_blob(result.digest or "") == b"600000\n"
    wait_until(lambda: store.list("shown"), 20, "the published name")
    assert store.get(f"s3://{store.bucket}/shown/sum.txt") == b"600000\n"
    wait_until(lambda: not Path(seen).exists(), 20, "the end of the sandbox")


def hold_push(far: System, store: S3Server, *options: str) -> tuple[str, str]:
    """Freeze the store, and return a job and its attempt whose outputs are being brought there."""
    assert store.process is not None
    store.process.send_signal(signal.SIGSTOP)
    job = create_job(far, *options)
    records = far.folder / "pilot-work" / "outbox"
    (record,) = wait_until(lambda: list(records.glob("*/*.json")), 30, "the end of the payload")
    return job, record.stem


def test_cancelled_job_stops_bringing_its_outputs(far: System, store: S3Server) -> None:
    """A job that is cancelled while its store hangs is stopped in seconds, and leaves nothing there."""
    try:
        text = "name: slow\noutputs: {out: out.txt}\nrun: echo 1 > $out\n"
        job, attempt = hold_push(far, store, str(far.write("slow.yaml", text)))
        call(far, "job", "cancel", job, "--yes")
        wait_until(lambda: far.client.show_job(job).attempts[0].state == "stopped", 15, "the end of the attempt")
    finally:
        assert store.process is not None
        store.process.send_signal(signal.SIGCONT)
    assert far.client.show_job(job).state == "cancelled"
    # The slot is free again, and what had been on its way is gone.
    again = create_job(far, str(far.write("slow.yaml", text)))
    assert await_job(far, again).state == "finished"
    wait_until(lambda: not [name for name in store.list("p3s") if attempt in name], 20, "the end of the outputs")


def test_pilot_killed_in_the_middle_of_an_upload(far: System, store: S3Server, tmp_path: Path) -> None:
    """Nothing is visible of outputs that were half brought away; the next pilot there brings them, and runs nothing."""
    ran = tmp_path / "ran"
    script = f"echo x >> {ran}; head -c 80000000 /dev/urandom > $big"
    text = f"name: big\njobtype: doomed\nresources: {{labels: [doomed]}}\noutputs: {{big: big.bin}}\nrun: {script}\n"

    def find_parts() -> list[str]:
        begun = store.system.call_s3("list_multipart_uploads", Bucket=store.bucket, Prefix="killed/")
        return [one["Key"] for one in begun.get("Uploads", ())]

    # The server still holds the claim of the one that is killed, which must fit no other test's jobs.
    options = ("--data", f"s3://{store.bucket}/killed", "--accept-jobtype", "doomed", "--label", "doomed")
    pilot = far.start_pilot(*options, name="doomed", env=store.environ)
    job = create_job(far, str(far.write("big.yaml", text)))
    wait_until(find_parts, 60, "an upload in parts")
    end_process(pilot, signal.SIGKILL)
    assert far.client.show_job(job).state == "running"
    assert store.list("killed") == []
    last = far.start_pilot(*options, name="doomed", env=store.environ)
    (made,) = await_job(far, job, "finished").outputs
    assert ran.read_text() == "x\n"
    assert made.checksum == f"adler32:{zlib.adler32(store.get(made.place or '')):08x}"
    assert find_parts() == []
    end_process(last)


def test_xrootd_from_end_to_end(tmp_path: Path) -> None:
    """The same with a real XRootD server: staged in, out, published in place of an older file, checksums compared."""
    server = XRootDServer()
    system = System(tmp_path)
    try:
        server.start()
        raw = server.data / "run7.txt"
        raw.write_bytes(b"1\n2\n" * 300_000)
        shown = server.data / "shown.txt"
        shown.write_bytes(b"older\n")
        shutil.chown(shown, "nobody", "nogroup")
        system.prefix = server.prefix
        system.start_server()
        pilot = system.start_pilot("--data", "root://localhost:1094//data/p3s")
        text = """\
name: eos
datasets: {raw: "root://LOCALHOST//data/run7.txt"}
jobs:
  double: {inputs: [raw], outputs: {hits: sub/hits.txt}, run: cat "$raw" "$raw" > "$hits"}
  add:
    inputs: [hits]
    outputs: {sum: sum.txt}
    publish: {sum: "root://localhost//data/shown.txt"}
    run: wc -l < "$hits" > "$sum"
"""
        path = system.write("eos.yaml", text)
        uuid = system.run("workflow", "load", str(path), "-q").stdout.strip()
        adler = f"adler32:{zlib.adler32(raw.read_bytes()):08x}"
        system.run("dataset", "register", "root://localhost//data/run7.txt", "--checksum", adler)
        system.run("workflow", "watch", uuid)
        wait_until(lambda: shown.read_bytes() == b"1200000\n", 20, "the published file")
        (made,) = json.loads(system.run("job", "show", f"{uuid}/double", "--json").stdout)["outputs"]
        assert made["place"].startswith(f"root://localhost//data/p3s/{uuid}/double/")
        local = server.data / made["place"].partition("//data/")[2]
        assert local.read_bytes() == raw.read_bytes() * 2
        assert not find_paths(server.data, "*.part")
        assert pilot.poll() is None
        (total,) = json.loads(system.run("job", "show", f"{uuid}/add", "--json").stdout)["outputs"]
        for one in (made, total):
            system.run("dataset", "delete", one["uuid"], "--files", "--yes")
            show = partial(system.run, "dataset", "show", one["uuid"])
            wait_until(lambda show=show: "deleted at" in show().stdout, 30, "the deletion of the file")
        assert not local.exists()
        assert not shown.exists()
        assert raw.exists()
    finally:
        system.stop()
        server.stop()
