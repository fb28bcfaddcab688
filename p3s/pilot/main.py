"""Where a pilot begins: log, checks, signals, and then the agent."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from p3s import __version__
from p3s.client import Client
from p3s.errors import P3sError
from p3s.pilot.agent import Agent
from p3s.pilot.callers import name_trouble
from p3s.pilot.exits import EXIT_AWAY, EXIT_FAIL, EXIT_LOG, EXIT_NONSENSE, EXIT_USAGE
from p3s.pilot.kill import become_subreaper
from p3s.pilot.options import check_options
from p3s.pilot.protect import check_protection, find_open_secrets
from p3s.pilot.site import apply_site, fetch_site
from p3s.pilot.staging import check_store, find_schemes
from p3s.wire import Accepts, RegisterBody

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from p3s.pilot.events import Trouble
    from p3s.pilot.options import PilotOptions

__all__ = ["is_contained", "make_register_body", "run_pilot"]

#: Seconds that a thread may keep others from running. Each of this process' threads does a little and often waits
#: for files; with Python's own 5 ms, what takes 1 ms by itself took 10.
SWITCH = 0.0005

#: What the process ends with when its site cannot be asked for.
_SITE_EXITS: dict[Trouble, int] = {
    "away": EXIT_AWAY,
    "refused": EXIT_FAIL,
    "forgotten": EXIT_FAIL,
    "nonsense": EXIT_NONSENSE,
    "rejected": EXIT_USAGE,
}

log = logging.getLogger("p3s.pilot")


def run_pilot(options: PilotOptions, *, left_open: AbstractSet[str] = frozenset()) -> int:
    """Run a pilot until it has a reason to leave.

    SIGTERM and SIGINT let it finish what runs; a second one makes it hand that back. Must be called in the main
    thread of a process that does nothing else: the pilot waits for all children of its process.

    Parameters
    ----------
    options : PilotOptions
        What the pilot is told.
    left_open : set of str
        Fields of `options` that nobody has chosen: the definition of the pilot's site fills them. Without any, the
        server is not asked for the site.

    Returns
    -------
    int
        The exit code of the process (see `p3s.pilot.exits`).
    """
    try:
        handler = logging.FileHandler(_make_folder(options.logs) / f"{options.uuid}.log", encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"p3s pilot: the log folder {options.logs} cannot be used ({error}); name another one\n")
        return EXIT_LOG
    with _open_log(handler):
        if left_open:
            try:
                options = _ask_site(options, left_open)
            except P3sError as error:
                log.error("not registered: cannot learn of site %s: %s", options.site, error)  # noqa: TRY400 - as below
                return _SITE_EXITS[name_trouble(error)]
        try:
            check_options(options)
            check_protection(options.protection)
            _check_user(options)
            check_store(options.store)
            _make_folder(options.work)
            if not options.store:
                _make_folder(options.data)
            become_subreaper()
            agent = Agent(options, Client(options.url, options.token), make_register_body(options))
        except (P3sError, OSError) as error:
            log.error("cannot start: %s", error)  # noqa: TRY400 - a message for people, not a trace
            return EXIT_USAGE
        sys.setswitchinterval(SWITCH)
        if warning := find_open_secrets(options.secrets):
            log.warning("%s", warning)
        log.info(
            "pilot %s (%s) at %s, %d slots",
            options.uuid,
            options.name or "no name",
            options.url,
            options.slots,
        )
        with _handle_signals(agent):
            code = agent.run()
        log.info("exit code %d", code)
        return code


def make_register_body(options: PilotOptions) -> RegisterBody:
    """Return what a pilot says of itself when it registers."""
    return RegisterBody(
        uuid=options.uuid,
        name=options.name,
        site=options.site,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        slots=options.slots,
        cpus=options.total_cpus,
        memory=options.memory,
        labels=[*options.labels, *find_schemes()],
        accepts=Accepts(users=list(options.users), jobtypes=list(options.jobtypes)),
        lifetime=options.lifetime,
        data=options.store or str(options.data),
    )


def is_contained(root: Path = Path("/")) -> bool:
    """Return whether this process runs in a container that it can recognise.

    Parameters
    ----------
    root : Path
        Where the file system begins; a test gives another.

    Returns
    -------
    bool
        Whether Docker, Podman, Kubernetes, LXC or systemd-nspawn left their traces.
    """
    if (root / ".dockerenv").exists() or (root / "run" / ".containerenv").exists():
        return True
    with contextlib.suppress(OSError):
        environ = (root / "proc" / "1" / "environ").read_bytes().split(b"\0")
        if any(entry.startswith((b"container=", b"KUBERNETES_SERVICE_HOST=")) for entry in environ):
            return True
    with contextlib.suppress(OSError):
        groups = (root / "proc" / "1" / "cgroup").read_text(encoding="utf-8")
        return any(word in groups for word in ("docker", "kubepods", "containerd", "libpod", "/lxc"))
    return False


def _ask_site(options: PilotOptions, left_open: AbstractSet[str]) -> PilotOptions:
    """Return the options with what the definition of their site fills in."""
    site = fetch_site(Client(options.url, options.token), options.site, options.register_limit)
    if site is not None:
        return apply_site(options, site, left_open)
    if options.site != "default":
        log.info("site %s is not defined on the server; this pilot's own options hold", options.site)
    return options


def _check_user(options: PilotOptions) -> None:
    if os.geteuid() == 0 and not options.allow_root and not is_contained():
        raise PermissionError(
            "payloads would run as root; start the pilot as another user, or give --allow-root if you must"
        )


def _make_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def _open_log(handler: logging.Handler) -> Iterator[None]:
    handlers = [handler, logging.StreamHandler(sys.stderr)]
    form = logging.Formatter("%(asctime)s %(message)s")
    level = log.level
    for one in handlers:
        one.setFormatter(form)
        log.addHandler(one)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        for one in handlers:
            log.removeHandler(one)
            one.close()


@contextlib.contextmanager
def _handle_signals(agent: Agent) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may; whoever runs a pilot elsewhere ends it through the server.
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: agent.interrupt()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
