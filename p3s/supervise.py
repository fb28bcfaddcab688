"""Start programs of p3s as child processes, start again what dies, and leave none behind.

Three things see to it that nothing stays: signals never strike between a child's start and its entry in the
list (`Interrupts`), whatever is in the list is stopped by its process id within bounded time
(`Supervisor.stop`), and children look whether their parent still lives (`exit_with_parent`), for the case
that it was killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from p3s.errors import P3sError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from socket import socket
    from types import FrameType

__all__ = ["ChildFailed", "Interrupts", "Program", "Supervisor", "exit_with_parent"]

#: More deaths of one program than this within `DEATH_WINDOW` seconds end the supervision.
MOST_DEATHS = 5
DEATH_WINDOW = 60.0
#: Seconds before a dead program is started again, growing with each death.
RESTART_PAUSE = 0.5
#: Seconds from the first SIGTERM to the second, which makes a pilot hand back what it runs.
HAND_BACK_AFTER = 0.5
#: Seconds from the first SIGTERM to SIGKILL.
KILL_AFTER = 15.0
#: Seconds between two looks at a parent or a child.
LOOK_PAUSE = 0.05
#: Lines of a dead program's log that its obituary shows.
SHOWN_LINES = 10


class ChildFailed(P3sError):
    """A program that is needed does not stay up."""

    kind = "child-failed"

    def __init__(self, program: Program, code: int) -> None:
        self.program, self.code = program, code
        tail = "\n".join(f"  {line}" for line in _read_tail(program.log))
        super().__init__(f"{program.name} does not stay up (exit code {code}); its log {program.log} ends with\n{tail}")


@dataclass(frozen=True, slots=True)
class Program:
    """What to start.

    Attributes
    ----------
    name : str
        For messages.
    command : tuple of str
        The program and its arguments.
    log : Path
        Where its stdout and stderr are appended.
    environ : mapping
        Its environment.
    may_leave : bool
        Whether exit code 0 means that it left on purpose, and is not started again.
    sockets : tuple of socket
        What it gets under the same numbers, each time it is started; closed when the supervision ends.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    environ: Mapping[str, str] = field(repr=False)
    may_leave: bool = False
    sockets: tuple[socket, ...] = ()


class Interrupts:
    """Turn SIGINT, SIGTERM and SIGHUP into one KeyboardInterrupt, never inside a shielded block.

    After the first one, or once `close` was called, further signals are only counted: what cleans up is not
    disturbed. A signal that was ignored when the program started (``nohup``, ``&`` in a script) stays so. If one
    came, the process is about to end, and they are ignored from the end of the block on: the last of many must not
    take the place of the exit code.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.count = 0
        self._closed = False
        self._shielded = False
        self._old: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in self.SIGNALS:
            old = signal.getsignal(number)
            if old is not signal.SIG_IGN:
                self._old[number] = old
                signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, signal.SIG_IGN if self.count else old)

    def close(self) -> None:
        """Only count signals from now on."""
        self._closed = True

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Hold back a signal until the block has ended."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
            if self.count and not self._closed:
                self._closed = True
                raise KeyboardInterrupt

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._closed or self._shielded:
            return
        self._closed = True
        raise KeyboardInterrupt


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None
    deaths: list[float] = field(default_factory=list)
    start_at: float = 0.0


class Supervisor:
    """Keeps programs running.

    Parameters
    ----------
    interrupts : Interrupts
        Held back while a child starts.
    tell : function
        Takes remarks for the user.
    """

    def __init__(self, interrupts: Interrupts, tell: Callable[[str], None]) -> None:
        self._interrupts = interrupts
        self._tell = tell
        self._children: list[_Child] = []

    def start(self, program: Program) -> int:
        """Start a program in a process group of its own and return its process id."""
        with self._interrupts.shield():
            process = _launch(program)
            self._children.append(_Child(program, process))
        return process.pid

    def check(self) -> None:
        """Start again what has died.

        Raises
        ------
        ChildFailed
            If a program has died too often.
        """
        now = time.monotonic()
        for child in list(self._children):
            if child.process is not None:
                code = _poll_group(child.process)
                if code is None:
                    continue
                self._bury(child, code, now)
            elif now >= child.start_at:
                with self._interrupts.shield():
                    child.process = _launch(child.program)

    def check_alive(self, name: str) -> None:
        """Raise `ChildFailed` if the program of this name has ended; for use before it ever worked."""
        for child in self._children:
            if child.program.name == name and child.process is not None:
                code = _poll_group(child.process)
                if code is not None:
                    raise ChildFailed(child.program, code)

    def stop(self) -> None:
        """Stop all children, the last started first, within bounded time.

        Children get SIGTERM, a second one soon after, and in the end SIGKILL, together with their process
        groups. A signal that arrives meanwhile cuts the wait short. The first started, the server, is stopped
        when the others have ended, so that they can report.
        """
        self._interrupts.close()
        signals_before = self._interrupts.count
        first, rest = self._children[:1], self._children[1:]
        for batch in (rest, first):
            self._stop_batch([child.process for child in batch if child.process is not None], signals_before)
        for child in self._children:
            for listener in child.program.sockets:
                listener.close()
        self._children.clear()

    def _stop_batch(self, processes: Sequence[subprocess.Popen[bytes]], signals_before: int) -> None:
        begun = time.monotonic()
        terms = 0
        while running := [process for process in processes if _poll_group(process) is None]:
            waited = time.monotonic() - begun
            if waited > KILL_AFTER or self._interrupts.count > signals_before:
                for process in running:
                    _kill_group(process)
                    process.wait()
            elif terms == 0 or (terms == 1 and waited > HAND_BACK_AFTER):
                for process in running:
                    process.terminate()
                terms += 1
            time.sleep(LOOK_PAUSE)

    def _bury(self, child: _Child, code: int, now: float) -> None:
        """Note a death and set the time of the next start."""
        if child.program.may_leave and code == 0:
            self._tell(f"{child.program.name} has left")
            self._children.remove(child)
            return
        child.process = None
        child.deaths = [*(moment for moment in child.deaths if now - moment < DEATH_WINDOW), now]
        if len(child.deaths) > MOST_DEATHS:
            raise ChildFailed(child.program, code)
        child.start_at = now + RESTART_PAUSE * 2 ** (len(child.deaths) - 1)
        self._tell(f"{child.program.name} ended (exit code {code}); it is started again")


def exit_with_parent(parent: int) -> None:
    """See to it that this process ends when the process `parent` does.

    A thread looks whether the parent has changed, as it does when the parent dies. It then asks this process
    to end as a user would, twice, and at last kills it with its process group.
    """
    threading.Thread(target=_watch_parent, args=(parent,), name="parent", daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.25)
    for pause in (HAND_BACK_AFTER, KILL_AFTER):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(pause)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _launch(program: Program) -> subprocess.Popen[bytes]:
    handle = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            env=dict(program.environ),
            pass_fds=[listener.fileno() for listener in program.sockets],
            # Ctrl-C strikes the group of the terminal; children are stopped in order, by us.
            process_group=0,
        )
    finally:
        os.close(handle)


def _poll_group(process: subprocess.Popen[bytes]) -> int | None:
    """Return a child's exit code, None while it runs; when it has ended, so has the rest of its group."""
    if process.returncode is None and hasattr(os, "waitid"):
        # The dead child is looked at without being waited for: as long as it is there, its id, which is also
        # that of its group, cannot become another's.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if os.waitid(os.P_PID, process.pid, flags) is not None:
            _kill_group(process)
    return process.poll()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # A group of which only the dead leader is left may refuse the signal.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _read_tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            return file.read().decode(errors="replace").splitlines()[-SHOWN_LINES:]
    except OSError as error:
        return [f"(it cannot be read: {error})"]
