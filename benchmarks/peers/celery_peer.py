"""celery on redis, which syncs each write to its log: one worker process with threads."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery, chain

from benchmarks.idle import measure_idle
from benchmarks.peers import read_plan, show

ROOT = Path(__file__).parents[2]
SOCKET = os.environ.get("P3S_BENCH_SOCKET", "")
ADDRESS = f"redis+socket://{SOCKET}"
app = Celery("celery_peer", broker=ADDRESS, backend=ADDRESS)
app.conf.worker_prefetch_multiplier = 1
app.conf.broker_connection_retry_on_startup = True


@app.task(name="run")
def run(_before: object = None, command: tuple[str, ...] = ("/bin/true",)) -> int:
    """Start one process."""
    return subprocess.run(command, check=True).returncode


def main() -> None:
    """Run the case that the command line names."""
    kind, number, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    folder = Path(tempfile.mkdtemp())
    env = os.environ | {"P3S_BENCH_SOCKET": str(folder / "socket"), "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    redis = Path(sys.executable).with_name("redis-server")
    options = ["--port", "0", "--unixsocket", env["P3S_BENCH_SOCKET"], "--dir", str(folder)]
    server = subprocess.Popen([redis, *options, "--appendonly", "yes", "--appendfsync", "always"], stdout=sys.stderr)
    worker = None
    try:
        while not Path(env["P3S_BENCH_SOCKET"]).exists():
            assert server.poll() is None
            time.sleep(0.05)
        command = [sys.executable, "-m", "celery", "-A", "celery_peer", "worker", "-P", "threads", "-c", str(slots)]
        worker = subprocess.Popen([*command, "--loglevel", "ERROR"], env=env, cwd=folder, stdout=sys.stderr)
        # Another process asks: this one read the address before there was one.
        command = [sys.executable, __file__, "ask", kind, str(number), *sys.argv[4:]]
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        sys.stdout.write(done.stdout)
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait(30)
        server.terminate()
        server.wait(30)


def ask(kind: str, number: int) -> None:
    """Submit tasks, wait for them, and print the seconds."""
    run.delay().get(timeout=60)
    if kind == "idle":
        show(measure_idle(lambda command: run.delay(None, command), read_plan()))
        return
    begin = time.perf_counter()
    if kind == "bag":
        for result in [run.delay() for _ in range(number)]:
            result.get(timeout=240)
    else:
        chain(*[run.s() for _ in range(number)])().get(timeout=240)
    sys.stdout.write(f"{time.perf_counter() - begin}\n")


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        ask(sys.argv[2], int(sys.argv[3]))
    else:
        main()
