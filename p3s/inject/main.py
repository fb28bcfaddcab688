"""The injector as a program: it looks, says that it lives, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import uuid
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from p3s.errors import P3sError, Unavailable, Unreachable
from p3s.inject.watch import Watcher
from p3s.inject.work import Injector, Report
from p3s.wire import BeatBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p3s.client import Client
    from p3s.inject.rules import Rules

__all__ = ["Service", "run_for_ever", "run_to_end"]

#: Seconds between two words that the injector lives.
BEAT = 10.0
#: Pauses after a look that could not reach the server, growing.
FIRST_PAUSE, LAST_PAUSE = 1.0, 30.0
#: Seconds between two looks, at least.
LEAST = 0.2


class Service:
    """Tells the server that this injector lives, and which file it saw last."""

    def __init__(self, client: Client, rules: Rules) -> None:
        self._client, self._name = client, rules.name
        self._instance = str(uuid.uuid4())
        self._said: float | None = None
        self.last = ""

    def beat(self, *, leaving: bool = False, now: bool = False) -> None:
        """Say that it lives, if that was not said just now."""
        first = self._said is None
        if not (leaving or now or self._said is None) and time.monotonic() - self._said < BEAT:
            return
        body = BeatBody(
            instance=self._instance,
            host=socket.gethostname(),
            pid=os.getpid(),
            period=BEAT,
            last=self.last,
            arriving=first,
            leaving=leaving,
        )
        self._client.beat_service(self._name, body)
        self._said = time.monotonic()


class _Stop:
    """Whether a signal has asked for the end, and which."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.number = 0


@contextmanager
def _catch_signals(watcher: Watcher) -> Iterator[_Stop]:
    stop = _Stop()

    def take(number: int, _frame: Any) -> None:
        stop.number = number
        stop.event.set()
        watcher.wake()

    old = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def run_for_ever(client: Client, rules: Rules, show: Callable[[Report], None], tell: Callable[[str], None]) -> int:
    """Look until a signal comes; what is being started is finished first.

    Parameters
    ----------
    client : Client
        The server; while it is away, files wait.
    rules : Rules
        What to look for.
    show : function
        Takes what each look decided.
    tell : function
        Takes remarks for people, each once.

    Returns
    -------
    int
        0 after SIGTERM, 130 after SIGINT.

    Raises
    ------
    P3sError
        If the server refuses this injector, as when another of its name lives.
    """
    service = Service(client, rules)
    with closing(Watcher()) as watcher, _catch_signals(watcher) as stop:
        _loop(Injector(client, rules, between=_make_between(service)), service, watcher, stop, rules.every, show, tell)
        _say_goodbye(service, tell)
    return 130 if stop.number == signal.SIGINT else 0


def _loop(
    injector: Injector,
    service: Service,
    watcher: Watcher,
    stop: _Stop,
    every: float,
    show: Callable[[Report], None],
    tell: Callable[[str], None],
) -> None:
    """Look until told to stop."""
    said: set[str] = set()
    away = False
    pause = FIRST_PAUSE
    while not stop.event.is_set():
        try:
            service.beat()
            report = injector.look()
        except (Unreachable, Unavailable) as error:
            if not away:
                tell(f"{error}; files wait until the server answers")
            away = True
            watcher.wait(pause)
            pause = min(LAST_PAUSE, pause * 2)
            continue
        if away:
            tell("the server answers again")
        away, pause = False, FIRST_PAUSE
        said = _tell_new(report.troubles, said, tell)
        _note(service, report, show)
        watcher.follow(report.folders)
        # Many writes in a row are one reason to look.
        stop.event.wait(LEAST)
        if not stop.event.is_set():
            watcher.wait(min(every, BEAT, max(report.soon or BEAT, LEAST)))


def run_to_end(injector: Injector, service: Service | None, show: Callable[[Report], None], *, once: bool) -> Report:
    """Look once, or until no file grows or waits for its turn any more; return the last look."""
    while True:
        if service is not None:
            service.beat()
        report = injector.look()
        if service is not None:
            _note(service, report, show)
        else:
            show(report)
        if once or report.open == 0:
            if service is not None:
                service.beat(leaving=True)
            return report
        time.sleep(max(LEAST, report.soon or 0.0))


def _make_between(service: Service) -> Callable[[str], None]:
    """Return what the injector calls before each file that takes time."""

    def between(_place: str) -> None:
        service.beat()

    return between


def _note(service: Service, report: Report, show: Callable[[Report], None]) -> None:
    show(report)
    if report.decided:
        service.last = report.decided[-1].place
        service.beat(now=True)


def _tell_new(troubles: list[str], said: set[str], tell: Callable[[str], None]) -> set[str]:
    """Tell each trouble when it begins, and forget those that are over."""
    for trouble in troubles:
        if trouble not in said:
            tell(trouble)
    return set(troubles)


def _say_goodbye(service: Service, tell: Callable[[str], None]) -> None:
    try:
        service.beat(leaving=True)
    except P3sError as error:
        tell(f"the server was not told that this injector has left: {error}")
