"""A real system, and what is done to it: kills, freezes, cuts, each recorded with its time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.clock import read_clock
from tests.chaos.proxy import Proxy, Weather

if TYPE_CHECKING:
    import random
    import subprocess
    from collections.abc import Callable

    from tests.support.databases import MortalPostgres
    from tests.support.servers import System

LEASE = 6.0
DURATIONS = {"P3S_LEASE": str(LEASE), "P3S_HEARTBEAT": "1", "P3S_ACK": "2"}


@dataclass
class Fault:
    """Something that was done, to which pilot (none: to all), and when it was over."""

    kind: str
    pilot: str | None
    begun: float
    ended: float = float("inf")


@dataclass
class PilotProcess:
    """One of the pilots: its proxy, and its process as long as there is one."""

    name: str
    proxy: Proxy
    process: subprocess.Popen[bytes] | None = None
    #: Whether something is being done to it.
    hurt: bool = False


@dataclass
class Stage:
    """All processes, and the acts against them."""

    system: System
    postgres: MortalPostgres | None
    random: random.Random
    pilots: list[PilotProcess] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    #: Pilots that left though nobody told them to.
    departures: list[str] = field(default_factory=list)
    #: Server processes that ended by themselves.
    failed_starts: int = 0
    _repairs: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _server_down: bool = False
    _database_down: bool = False

    def start(self, pilots: int) -> None:
        """Start the server and the pilots, each behind a proxy of its own."""
        self._start_server()
        self.system.wait_for_server()
        for number in range(pilots):
            proxy = Proxy(self.system.port, Weather(), self.random.randrange(2**32))
            self.pilots.append(PilotProcess(f"pilot{number}", proxy))
            self._start_pilot(self.pilots[-1])

    def act(self) -> None:
        """Do one thing to the system, if what it would hit is sound."""
        hits: list[Callable[[], None]] = [self._hit_a_pilot] * 6 + [self._cut_all]
        if not self._server_down and not self._database_down:
            hits += [self._kill_server, self._kill_worker, self._freeze_server]
            hits += [self._kill_database] * 2 if self.postgres else []
        self.random.choice(hits)()

    def repair(self, *, everything: bool = False) -> None:
        """Undo what is due, or all; and start pilots that left."""
        while True:
            due = [entry for entry in self._repairs if everything or entry[0] <= time.monotonic()]
            self._repairs = [entry for entry in self._repairs if entry not in due]
            for _, undo in sorted(due, key=lambda entry: entry[0]):
                undo()
            if not (everything and self._repairs):
                break
        server = self.system.server
        if not self._server_down and not self._database_down and server is not None and server.poll() is not None:
            # PostgreSQL died while the server started; whatever keeps services running starts it again.
            self.failed_starts += 1
            self._start_server()
        for pilot in self.pilots:
            if not pilot.hurt and pilot.process is not None and pilot.process.poll() is not None:
                self.departures.append(f"{pilot.name} left with code {pilot.process.returncode}")
                self._start_pilot(pilot)

    def calm(self) -> None:
        """Undo everything and let every request pass."""
        self.repair(everything=True)
        for pilot in self.pilots:
            pilot.proxy.calm()

    def count_faults(self) -> Counter[str]:
        """Count what was done, by kind."""
        counts = Counter(fault.kind for fault in self.faults)
        counts["server started without its database"] = self.failed_starts
        for pilot in self.pilots:
            counts.update({f"network: {kind}": number for kind, number in pilot.proxy.done.items()})
        return counts

    def stop(self) -> None:
        """End everything that was started."""
        self.calm()
        for pilot in self.pilots:
            if pilot.process is not None and pilot.process.poll() is None:
                # Twice: hand back at once.
                pilot.process.terminate()
                pilot.process.terminate()
        self.system.stop()
        for pilot in self.pilots:
            pilot.proxy.close()

    # What is done -----------------------------------------------------------------------------------------------

    def _record(self, kind: str, pilot: str | None, seconds: float, undo: Callable[[], None]) -> None:
        fault = Fault(kind, pilot, read_clock())
        self.faults.append(fault)

        def end() -> None:
            undo()
            fault.ended = read_clock()

        self._repairs.append((time.monotonic() + seconds, end))

    def _hit_a_pilot(self) -> None:
        sound = [pilot for pilot in self.pilots if not pilot.hurt]
        # Somebody must be left to do the work.
        if len(sound) < 2:
            return
        pilot = self.random.choice(sound)
        assert pilot.process is not None
        process = pilot.process
        pilot.hurt = True
        kind = self.random.choice(["kill", "freeze", "cut"])
        if kind == "kill":
            process.kill()
            process.wait(10)
            self._record("pilot killed", pilot.name, self.random.uniform(0.2, 2), lambda: self._start_pilot(pilot))
        elif kind == "freeze":
            process.send_signal(signal.SIGSTOP)
            seconds = LEASE + self.random.uniform(1, 3)
            self._record("pilot frozen past its lease", pilot.name, seconds, lambda: self._thaw(pilot))
        else:
            pilot.proxy.cut()
            self._record("network cut", pilot.name, self.random.uniform(1, LEASE + 3), lambda: self._mend(pilot))

    def _cut_all(self) -> None:
        sound = [pilot for pilot in self.pilots if not pilot.hurt]
        if not sound:
            return
        for pilot in sound:
            pilot.hurt = True
            pilot.proxy.cut()

        def mend() -> None:
            for pilot in sound:
                self._mend(pilot)

        self._record("network cut for all", None, self.random.uniform(1, 5), mend)

    def _kill_worker(self) -> None:
        workers = self._find_workers()
        if workers:
            os.kill(self.random.choice(workers), signal.SIGKILL)
            self._record("server worker killed", None, 0.0, lambda: None)

    def _freeze_server(self) -> None:
        assert self.system.server is not None
        frozen = [self.system.server.pid, *self._find_workers()]
        self._server_down = True
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

        def thaw() -> None:
            for pid in frozen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            self._server_down = False

        self._record("server frozen past a lease", None, LEASE + 1, thaw)

    def _kill_server(self) -> None:
        server = self.system.server
        assert server is not None
        self._server_down = True
        server.kill()
        server.wait(10)
        self._record("server killed", None, self.random.uniform(0.2, 3), self._start_server)

    def _kill_database(self) -> None:
        assert self.postgres is not None
        self._database_down = True
        how = self.random.choice([signal.SIGKILL, signal.SIGQUIT])
        self.postgres.kill(how)
        kind = "PostgreSQL killed" if how is signal.SIGKILL else "PostgreSQL stopped at once"
        self._record(kind, None, self.random.uniform(0.2, 2), self._revive_database)

    # How it is undone -------------------------------------------------------------------------------------------

    def _start_pilot(self, pilot: PilotProcess) -> None:
        folders = {kind: str(self.system.folder / f"{pilot.name}-{kind}") for kind in ("work", "log")}
        token = (self.system.home / "pilot.token").read_text().strip()
        pilot.process = self.system.start_process(
            *("pilot", "start", "--server", f"http://127.0.0.1:{pilot.proxy.port}", "--name", pilot.name),
            *("--slots", "2", "--cpus", "2", "--period", "3", "--data", str(self.system.data)),
            *("--work", folders["work"], "--log", folders["log"], "--allow-root"),
            name=pilot.name,
            env={"P3S_TOKEN": token},
        )
        pilot.hurt = False

    def _thaw(self, pilot: PilotProcess) -> None:
        assert pilot.process is not None
        pilot.process.send_signal(signal.SIGCONT)
        pilot.hurt = False

    def _mend(self, pilot: PilotProcess) -> None:
        pilot.proxy.mend()
        pilot.hurt = False

    def _start_server(self) -> None:
        if self._database_down:
            self._repairs.append((time.monotonic() + 0.3, self._start_server))
            return
        workers = ("--workers", "2") if self.postgres else ()
        database = ("--database", self.system.database) if self.system.database else ()
        self.system.server = self.system.start_process(
            *("server", "start", "--host", "127.0.0.1", "--port", str(self.system.port)),
            *(*database, *workers),
            name="server",
        )
        self._server_down = False

    def _revive_database(self) -> None:
        assert self.postgres is not None
        self.postgres.revive()
        self._database_down = False

    def _find_workers(self) -> list[int]:
        assert self.system.server is not None
        pid = self.system.server.pid
        with contextlib.suppress(OSError):
            return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []
