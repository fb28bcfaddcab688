"""What does not change about a workflow's graph once it is loaded, kept so that a page that looks again is cheap.

See docs/adr/0032-kept-edges.md.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sized

__all__ = ["Shapes"]

Value = TypeVar("Value", bound="Sized")


class Shapes:
    """The edges and the like of the workflows that were looked at last.

    Parameters
    ----------
    most : int
        Items of all values together; beyond, those go that were asked for longest ago.
    """

    def __init__(self, most: int = 200_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, Sized] = OrderedDict()
        self._size = 0

    def find(self, row: Any, what: Hashable, make: Callable[[], Value]) -> Value:
        """Return what is known of a workflow under `what`; made, and kept unless the workflow is still being loaded.

        Parameters
        ----------
        row : row of ``workflow``
            Whose. Its uuid is the key: SQLite gives the number of a deleted row to the next.
        what : hashable
            Which of the values of this workflow.
        make : callable
            Returns the value.

        Returns
        -------
        Sized
            Not to be changed.
        """
        key = (row.uuid, what)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return cast("Value", self._known[key])
        value = make()
        # What is larger than all room would push out everything, and itself.
        if row.state != "loading" and len(value) < self._most:
            with self._lock:
                self._forget(key)
                self._known[key] = value
                self._size += len(value) + 1
                while self._size > self._most:
                    self._forget(next(iter(self._known)))
        return value

    def _forget(self, key: Hashable) -> None:
        if key in self._known:
            self._size -= len(self._known.pop(key)) + 1
