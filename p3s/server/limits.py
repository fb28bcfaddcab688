"""How often one caller may do a thing: a bucket of tries that fills again with time, the same in all processes."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

from p3s.errors import TooMany

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SUBMISSIONS", "Buckets", "Limiter"]

#: Routes that count as a submission.
SUBMISSIONS = frozenset({"api.load_workflow", "api.create_jobs", "api.register_dataset", "api.create_token"})
#: Buckets; two callers share one with the chance of one in so many, and nobody can tell which do.
SLOTS = 65_536
_BUCKET = struct.Struct("dd")


class Buckets:
    """Memory that the processes of one server share: made before they are forked.

    Each bucket has how many tries were taken from it, and when that was so; it begins full. A lock that the kernel
    holds for a process is given back when that process is killed, too.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("p3s-limits", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        os.ftruncate(self._file, SLOTS * _BUCKET.size)
        self._memory = mmap.mmap(self._file, SLOTS * _BUCKET.size)
        self._key = os.urandom(16)
        # The kernel's lock knows processes, not threads.
        self._lock = threading.Lock()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep all others, of any process, from the buckets."""
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def find(self, name: str) -> int:
        """Return the place of the bucket of a name; the key keeps anyone from choosing a name that shares another's."""
        digest = hashlib.blake2b(name.encode(), key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "big") % SLOTS * _BUCKET.size

    def read(self, place: int) -> tuple[float, float]:
        """Return what was taken, and when."""
        taken, moment = _BUCKET.unpack_from(self._memory, place)
        return taken, moment

    def write(self, place: int, taken: float, moment: float) -> None:
        """Keep what was taken."""
        _BUCKET.pack_into(self._memory, place, taken, moment)


class Limiter:
    """Counts one kind of tries, by caller.

    Parameters
    ----------
    what : str
        What is counted, for the message.
    per_minute : int
        How often a caller may, at once or spread over a minute; 0 for no limit.
    buckets : Buckets
        Where the tries are counted.
    clock : callable
        Returns seconds, the same for all processes of a machine; a test gives its own.
    """

    def __init__(
        self, what: str, per_minute: int, buckets: Buckets, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what, self._size, self._buckets, self._clock = what, per_minute, buckets, clock

    def take(self, caller: str) -> None:
        """Count one try.

        Raises
        ------
        TooMany
            If the bucket is empty; it says when the next try is free.
        """
        if not self._size:
            return
        rate = self._size / 60.0
        place = self._buckets.find(f"{self._what} {caller}")
        with self._buckets.hold():
            now = self._clock()
            taken, then = self._buckets.read(place)
            taken = max(0.0, taken - (now - then) * rate)
            if taken <= self._size - 1.0:
                self._buckets.write(place, taken + 1.0, now)
                return
        wait = (taken + 1.0 - self._size) / rate
        raise TooMany(f"more than {self._size} {self._what} in a minute; try again in {wait:.0f} s", wait)
