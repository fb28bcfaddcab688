"""What is at a URL comes into the sandbox before a payload starts, and what it made goes to one after its end."""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING, Any

from p3s.engine.places import EXTRAS, check_location, check_target, find_staged
from p3s.engine.states import Reason
from p3s.errors import BadInput, Problem
from p3s.pilot.couriers import CourierFailed, Couriers
from p3s.pilot.failure import AttemptFailed
from p3s.pilot.launch import read_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from p3s.pilot.options import PilotOptions
    from p3s.wire import JobOrder

__all__ = ["Stager", "check_store", "find_schemes", "has_staged", "make_courier_environ", "name_extra"]

#: What each kind of store needs to be installed.
_NEEDS = {"s3://": ("s3fs",), "root://": ("fsspec_xrootd", "XRootD")}
#: Secrets of the host that couriers are given.
_CREDENTIALS = ("AWS_", "XRD_", "X509_", "BEARER_TOKEN")
#: Seconds before a transfer is tried again; each pause in a row doubles, up to the longest.
PAUSE, LONGEST_PAUSE = 0.5, 10.0
#: Seconds to clear away what does not count.
DELETE_LIMIT = 300.0


def find_schemes() -> list[str]:
    """Return the kinds of URLs that this installation can bring data from and to."""
    return [scheme for scheme, modules in _NEEDS.items() if all(map(importlib.util.find_spec, modules))]


def name_extra(scheme: str) -> str:
    """Return what is to be installed for one kind of URLs.

    Examples
    --------
    >>> name_extra("s3://")
    "pip install 'p3s[s3]'"
    """
    return f"pip install 'p3s[{EXTRAS[scheme]}]'"


def check_store(url: str) -> None:
    """Check that outputs can be brought below a URL from here.

    Raises
    ------
    BadInput
        If not.
    """
    if not url:
        return
    wrong = check_location(f"{url}/x")
    scheme = find_staged(url)
    if not wrong and not scheme:
        wrong = check_target(f"{url}/x")
    elif not wrong and scheme not in find_schemes():
        wrong = f"cannot be reached from here: {scheme} needs `{name_extra(scheme)}`"
    if wrong:
        raise BadInput([Problem(f"'{url}' {wrong}", where="data")])


def has_staged(order: JobOrder) -> bool:
    """Tell whether an input must be brought into the sandbox."""
    return any(find_staged(one.place) for one in order.inputs)


def make_courier_environ(options: PilotOptions, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a courier: the pilot's own, the site's, and credentials from the file of secrets.

    Raises
    ------
    AttemptFailed
        If the file cannot be read.
    """
    environ = {name: value for name, value in inherited.items() if not name.startswith("P3S_")}
    environ |= options.environ
    if options.secrets is not None:
        secrets = read_secrets(options.secrets)
        environ |= {name: value for name, value in secrets.items() if name.startswith(_CREDENTIALS)}
    # The keeper ends what carries this when the pilot is gone.
    return environ | {"P3S_PILOT_UUID": options.uuid}


class Stager:
    """Moves files of attempts; each call takes as long as the transfer, so it belongs into a thread.

    Parameters
    ----------
    couriers : Couriers
        Who does it.
    wait : float
        Seconds for which what is missing, or a store that does not answer, is tried again.
    limit : float
        Seconds that the inputs of one attempt, or its outputs, may take altogether.
    """

    def __init__(self, couriers: Couriers, wait: float, limit: float) -> None:
        self._couriers, self._wait, self._limit = couriers, wait, limit

    def fetch(self, order: JobOrder, folder: Path, is_stopped: Callable[[], bool]) -> JobOrder:
        """Bring the inputs of an attempt into `folder`, and return the order with their places there.

        Raises
        ------
        AttemptFailed
            If one is missing or not what it should be, its store cannot be reached, or time is over.
        """
        end = time.monotonic() + self._limit
        inputs = []
        for number, one in enumerate(order.inputs):
            if not find_staged(one.place):
                inputs.append(one)
                continue
            target = folder / str(number) / one.place.rpartition("/")[2]
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            request: dict[str, Any] = {"do": "fetch", "url": one.place, "path": str(target)}
            request |= {"size": one.size, "checksum": one.checksum}
            self._insist(request, f"input '{one.name}'", end, is_stopped)
            inputs.append(one.model_copy(update={"place": str(target)}))
        return order.model_copy(update={"inputs": inputs})

    def push(
        self,
        folder: Path,
        pushes: Iterable[tuple[str, str, int, str]],
        token: str,
        is_stopped: Callable[[], bool],
    ) -> None:
        """Bring files to their URLs.

        Parameters
        ----------
        folder : Path
            The attempt's folder. What is not below it, links followed, is not brought.
        pushes : iterable of (str, str, int, str)
            Path in it, URL, bytes and checksum.
        token : str
            Makes temporary names unlike any other.
        is_stopped : callable
            Asked now and then; true ends it.

        Raises
        ------
        AttemptFailed
            If it cannot be done. What was brought stays: a repeat does no harm.
        """
        end = time.monotonic() + self._limit
        for path, url, size, checksum in pushes:
            if wrong := check_location(url):
                raise AttemptFailed(Reason.STAGING, f"'{url}' {wrong}")
            request: dict[str, Any] = {"do": "push", "url": url, "folder": str(folder), "path": path}
            request |= {"size": size, "checksum": checksum, "token": token}
            self._insist(request, f"output {url}", end, is_stopped)

    def delete(self, url: str, *, rivals: bool = False) -> None:
        """Delete a folder of outputs, or all beside it.

        Raises
        ------
        CourierFailed
            If that cannot be done now.
        """
        self._couriers.ask({"do": "delete_rivals" if rivals else "delete", "url": url}, DELETE_LIMIT, lambda: False)

    def remove(self, url: str, fence: str = "") -> None:
        """Delete one file, unless it lies outside the folder of the attempt `fence`; what is not there is gone already.

        Raises
        ------
        CourierFailed
            If that cannot be done now.
        """
        if fence and f"/{fence}/" not in url:
            raise CourierFailed("denied", f"it lies outside the folder of its attempt, .../{fence}/")
        self._couriers.ask({"do": "remove", "url": url}, DELETE_LIMIT, lambda: False)

    def _insist(self, request: dict[str, Any], what: str, end: float, is_stopped: Callable[[], bool]) -> None:
        pause = PAUSE
        give_up = min(time.monotonic() + self._wait, end)
        damaged = 0
        while True:
            start = time.monotonic()
            try:
                self._couriers.ask(request, end - start, is_stopped)
            except CourierFailed as failure:
                if time.monotonic() - start > self._wait:
                    # It broke off late, so the store has not been away for long.
                    give_up = min(time.monotonic() + self._wait, end)
                damaged += failure.kind == "differs"
                over = time.monotonic() + pause >= give_up
                if over or failure.kind in {"denied", "full", "late", "stopped"} or damaged > 1:
                    raise _explain(failure, what, request) from failure
            else:
                return
            _sleep(pause, is_stopped)
            pause = min(pause * 2, LONGEST_PAUSE)


def _explain(failure: CourierFailed, what: str, request: Mapping[str, Any]) -> AttemptFailed:
    reads = request["do"] == "fetch"
    url = request["url"]
    match failure.kind:
        case "missing" if reads:
            return AttemptFailed(Reason.MISSING_INPUT, f"{what} is not at {url}: {failure}")
        case "differs":
            return AttemptFailed(Reason.BAD_CHECKSUM, f"{what} is not what was recorded, or was damaged: {failure}")
        case "full":
            return AttemptFailed(Reason.NO_SPACE, f"{what}: no space is left: {failure}")
        case "stopped":
            return AttemptFailed(Reason.HANDED_BACK, f"{what}: {failure}")
        case "late":
            return AttemptFailed(Reason.STAGING, f"{what}: the staging limit was over before {url} was through")
        case "denied":
            return AttemptFailed(Reason.STAGING, f"{what}: {url} is refused to the pilot: {failure}")
        case _:
            return AttemptFailed(Reason.STAGING, f"{what}: {url}: {failure}")


def _sleep(seconds: float, is_stopped: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_stopped():
        time.sleep(0.1)
