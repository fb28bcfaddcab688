"""A transport that loses, repeats and delays, in the order that a test says."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal, TypeAlias

from p3s.client import Whole
from p3s.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from p3s.client import Answer, Transport

#: What happens to one request: it arrives; it never arrives; it arrives and the answer is lost; it arrives twice
#: and the second answer counts; its answer is late.
Fault: TypeAlias = Literal["none", "lose-request", "lose-reply", "repeat", "delay"]

#: Seconds that a delayed answer takes longer.
DELAY = 0.05


class FaultyTransport(Whole):
    """Wraps a transport and does to each request what the next fault says; afterwards nothing."""

    def __init__(self, inner: Transport, faults: Iterable[Fault], only: str = "") -> None:
        self._inner = inner
        self._faults: Iterator[Fault] = iter(faults)
        self._only = only
        self._lock = threading.Lock()
        self.done: list[Fault] = []

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Answer:
        """Send one request through the fault that is next."""
        fault = self._take(url)
        if fault == "lose-request":
            raise Unreachable(url, "the request was lost")
        answer = self._inner.send(method, url, headers, body, timeout)
        if fault == "lose-reply":
            raise Unreachable(url, "the reply was lost")
        if fault == "repeat":
            return self._inner.send(method, url, headers, body, timeout)
        if fault == "delay":
            time.sleep(DELAY)
        return answer

    def _take(self, url: str) -> Fault:
        if self._only not in url:
            return "none"
        with self._lock:
            fault: Fault = next(self._faults, "none")
            self.done.append(fault)
            return fault
