"""Who reads the output of running payloads, while somebody watches and not otherwise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from p3s.pilot.outputs import read_piece
from p3s.wire import LogChunk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from p3s.pilot.work import Work

__all__ = ["Watcher"]

#: Seconds between two looks.
PAUSE = 0.5
_STREAMS: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")


class Watcher:
    """Reads what is new in the logs of chosen attempts."""

    def __init__(self) -> None:
        self._works: list[Work] = []
        self._at = float("inf")

    def choose(self, works: Iterable[Work]) -> None:
        """Watch these attempts and no others; a new one begins with its last 64 KiB."""
        self._works = list(works)
        self._at = time.monotonic() if self._works else float("inf")

    def find_next_time(self) -> float:
        """Return when to read again; infinity for never."""
        return self._at

    def read(self, now: float) -> list[LogChunk]:
        """Return what is new, if it is time to look."""
        if now < self._at:
            return []
        self._works = [work for work in self._works if work.exit is None]
        self._at = now + PAUSE if self._works else float("inf")
        chunks: list[LogChunk] = []
        for work in self._works:
            for stream in _STREAMS:
                start, content = read_piece(work.sandbox.path, f".p3s/{stream}", work.offsets.get(stream, -1))
                if not content:
                    continue
                work.offsets[stream] = start + len(content)
                chunks.append(
                    LogChunk(
                        attempt=work.order.attempt,
                        token=work.order.token,
                        stream=stream,
                        offset=start,
                        data=content,
                    )
                )
        return chunks
