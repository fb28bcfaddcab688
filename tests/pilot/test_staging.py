"""Bringing files from and to a real S3 server, and what goes wrong with that, told by reasons."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from p3s.engine.states import Reason
from p3s.pilot.couriers import CourierFailed, Couriers
from p3s.pilot.failure import AttemptFailed
from p3s.pilot.staging import Stager, make_courier_environ
from p3s.wire import InputOrder
from tests.support.agents import make_options
from tests.support.fake_server import make_order
from tests.support.servers import find_port
from tests.support.stores import S3Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p3s.wire import JobOrder

pytestmark = pytest.mark.processes


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
def couriers(store: S3Server) -> Iterator[Couriers]:
    """Couriers that reach it."""
    found = Couriers(lambda: {**os.environ, **store.environ})
    yield found
    found.close()


def make_input(place: str, **facts: Any) -> JobOrder:
    return make_order(inputs=[InputOrder(name="raw", key="raw", place=place, **facts)])


def sha(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def fail_fetch(stager: Stager, order: JobOrder, folder: Path) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        stager.fetch(order, folder, lambda: False)
    return caught.value


def test_input_comes_with_its_name_and_is_compared(couriers: Couriers, store: S3Server, tmp_path: Path) -> None:
    """Inputs lie in folders of their own, so equal names do not meet; what is no URL stays where it is."""
    content = b"x" * 100_000
    order = make_order(
        inputs=[
            InputOrder(name=name, key=name, place=place, size=len(content), checksum=sha(content))
            for name, place in (("a", store.put("1/run.txt", content)), ("b", store.put("2/run.txt", content)))
        ]
        + [InputOrder(name="c", key="c", place="/data/c")]
    )
    a, b, c = Stager(couriers, 1, 60).fetch(order, tmp_path / "in", lambda: False).inputs
    assert (tmp_path / "in" / "0" / "run.txt").read_bytes() == content
    assert [a.place, b.place, c.place] == [
        str(tmp_path / "in/0/run.txt"),
        str(tmp_path / "in/1/run.txt"),
        "/data/c",
    ]


def test_input_that_is_not_as_recorded(couriers: Couriers, store: S3Server, tmp_path: Path) -> None:
    """What is missing, of another size or content fails the attempt with a reason of the infrastructure."""
    stager = Stager(couriers, 0.3, 60)
    place = store.put("raw.txt", b"abc")
    gone = fail_fetch(stager, make_input(f"s3://{store.bucket}/none.txt"), tmp_path)
    assert (gone.reason, "none.txt" in str(gone)) == (Reason.MISSING_INPUT, True)
    longer = fail_fetch(stager, make_input(place, size=4), tmp_path)
    assert (longer.reason, "3 bytes are there instead of 4" in str(longer)) == (Reason.BAD_CHECKSUM, True)
    other = fail_fetch(stager, make_input(place, size=3, checksum=sha(b"abd")), tmp_path)
    assert (other.reason, sha(b"abc") in str(other)) == (Reason.BAD_CHECKSUM, True)


def test_input_that_comes_late_is_waited_for(couriers: Couriers, store: S3Server, tmp_path: Path) -> None:
    """What is missing at first is tried again."""
    threading.Timer(1.0, lambda: store.put("late.txt", b"abc")).start()
    order = make_input(f"s3://{store.bucket}/late.txt", size=3)
    (one,) = Stager(couriers, 30, 60).fetch(order, tmp_path, lambda: False).inputs
    assert one.place.endswith("late.txt")


def test_store_that_does_not_answer(tmp_path: Path) -> None:
    """A store that cannot be reached fails the attempt with `staging` after some tries."""
    away = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{find_port()}", "AWS_ACCESS_KEY_ID": "k"}
    couriers = Couriers(lambda: {**os.environ, **away, "AWS_SECRET_ACCESS_KEY": "s"})
    try:
        failure = fail_fetch(Stager(couriers, 0.1, 60), make_input("s3://raw/run.txt"), tmp_path)
        assert failure.reason is Reason.STAGING
        assert "s3://raw/run.txt" in str(failure)
    finally:
        couriers.close()


def test_limit_and_stop_end_a_transfer_that_hangs(couriers: Couriers, store: S3Server, tmp_path: Path) -> None:
    """Neither the staging limit nor a stop waits for a store that hangs; a courier that is killed is replaced."""
    order = make_input(store.put("raw.txt", b"abc"))
    assert store.process is not None
    store.process.send_signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        assert fail_fetch(Stager(couriers, 60, 0.5), order, tmp_path).reason is Reason.STAGING
        stopped = threading.Event()
        threading.Timer(0.5, stopped.set).start()
        with pytest.raises(AttemptFailed) as caught:
            Stager(couriers, 60, 60).fetch(order, tmp_path, stopped.is_set)
        assert caught.value.reason is Reason.HANDED_BACK
        assert time.monotonic() - start < 15
    finally:
        store.process.send_signal(signal.SIGCONT)
    Stager(couriers, 30, 60).fetch(order, tmp_path, lambda: False)
    for pid in couriers.pids:
        os.kill(pid, signal.SIGKILL)
    Stager(couriers, 30, 60).fetch(order, tmp_path, lambda: False)


def test_outputs_and_what_is_left_of_other_attempts(couriers: Couriers, store: S3Server, tmp_path: Path) -> None:
    """Outputs arrive whole and compared; the folders of other attempts are deleted, and nothing else."""
    stager = Stager(couriers, 5, 60)
    own, other = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
    base = f"s3://{store.bucket}/data/flow/job"
    path = tmp_path / "out.bin"
    path.write_bytes(os.urandom(40_000_000))
    facts = (path.stat().st_size, sha(path.read_bytes()))
    stager.push(tmp_path, [("out.bin", f"{base}/{own}/a/out.bin", *facts)], own, lambda: False)
    assert store.get(f"{base}/{own}/a/out.bin") == path.read_bytes()
    path.write_bytes(b"small")
    with pytest.raises(AttemptFailed, match="5 bytes are there instead of 40000000"):
        stager.push(tmp_path, [("out.bin", f"{base}/{own}/b.bin", *facts)], own, lambda: False)
    assert not store.system.exists(f"{base}/{own}/b.bin")
    for name in (f"{other}/a/left.bin", f"{other}/b.bin", "notes.txt", f"{other}-not/c.bin"):
        store.put(f"data/flow/job/{name}", b"x")
    stager.delete(f"{base}/{own}", rivals=True)
    left = [name.removeprefix(f"{store.bucket}/data/flow/job/") for name in store.list("data/flow/job")]
    assert left == [f"{own}/a/out.bin", f"{other}-not/c.bin", "notes.txt"]
    stager.delete(f"{base}/{own}")
    stager.delete(f"{base}/{own}")
    assert not store.list(f"data/flow/job/{own}")


def test_one_file_is_deleted(couriers: Couriers, store: S3Server) -> None:
    """The one object goes, and a repeat does no harm; outside of the attempt's folder nothing does."""
    stager = Stager(couriers, 5.0, 60.0)
    own, other = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
    fence = f"{own}/make/{own}"
    urls = [store.put(f"gone/{fence}/{name}", b"x") for name in ("a", "b")]
    for _ in range(2):
        stager.remove(urls[0], fence)
    with pytest.raises(CourierFailed, match="outside the folder of its attempt"):
        stager.remove(urls[1], f"{own}/make/{other}")
    assert store.list("gone") == [f"{store.bucket}/gone/{fence}/b"]


def test_damage_on_the_way_is_found(couriers: Couriers, store: S3Server, tmp_path: Path) -> None:
    """A store that does not hold what was sent is not believed."""
    path = tmp_path / "out.bin"
    path.write_bytes(b"abc")
    url = f"s3://{store.bucket}/damaged.bin"
    request = {"do": "push", "folder": str(tmp_path), "path": "out.bin", "url": url, "size": 3, "token": "t"}
    # The tag of what arrived is that of the file, so the store is believed.
    couriers.ask(request | {"checksum": sha(b"abd")}, 60, lambda: False)
    reader = {"do": "fetch", "path": str(tmp_path / "back"), "url": url, "size": 3, "checksum": sha(b"abd")}
    with pytest.raises(CourierFailed) as caught:
        couriers.ask(reader, 60, lambda: False)
    assert caught.value.kind == "differs"


def test_credentials_come_from_the_pilots_host_alone(tmp_path: Path) -> None:
    """Couriers get the pilot's environment, the site's and the credentials among the secrets; tokens of p3s never."""
    secrets = tmp_path / "secrets.toml"
    secrets.write_text('AWS_SECRET_ACCESS_KEY = "s"\nDATABASE_PASSWORD = "p"\n')
    options = make_options(tmp_path, secrets=secrets, environ={"AWS_ENDPOINT_URL": "http://site"})
    found = make_courier_environ(options, {"P3S_TOKEN": "t", "AWS_ENDPOINT_URL": "http://pilot", "PATH": "/bin"})
    assert found == {
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_ENDPOINT_URL": "http://site",
        "PATH": "/bin",
        "P3S_PILOT_UUID": options.uuid,
    }


def test_couriers_end_with_their_owner(store: S3Server, tmp_path: Path) -> None:
    """When a pilot closes its couriers none is left, whatever they do."""
    couriers = Couriers(lambda: {**os.environ, **store.environ})
    order = make_input(store.put("raw.txt", b"abc"))
    Stager(couriers, 5, 60).fetch(order, tmp_path, lambda: False)
    (pid,) = couriers.pids
    couriers.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(AttemptFailed, match="leaving"):
        Stager(couriers, 5, 60).fetch(order, tmp_path, lambda: False)
