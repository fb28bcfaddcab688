"""The real server: gunicorn around the application, with the sweeper beside it."""

from __future__ import annotations

import fcntl
import gc
import json
import logging
import os
import shutil
import ssl
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication

from p3s.errors import BadInput, Conflict
from p3s.memory import gather_memory
from p3s.ports import open_port
from p3s.server.auth import ensure_tokens
from p3s.server.db import Database
from p3s.server.limits import Buckets
from p3s.server.logs import GunicornLogger, open_log
from p3s.server.migrations import apply_migrations, find_pending
from p3s.server.notifier import Notifier
from p3s.server.purger import Purger
from p3s.server.usecases.backup import backup_database, restore_database
from p3s.server.usecases.core import Core
from p3s.server.usecases.rehearsal import rehearse
from p3s.server.usecases.sweep import Sweeper
from p3s.settings import ServerSettings, is_loopback, read_counts, read_durations, read_log_settings, read_policy

if TYPE_CHECKING:
    from p3s.notify.rules import Notify
    from p3s.settings import Home

__all__ = ["back_up", "fill_from", "migrate", "serve"]

log = logging.getLogger(__name__)

#: Threads of a worker. Each held long poll takes one, so they must exceed the pilots; they start when needed.
THREADS = 2200
#: Seconds that a thread may keep others from running: most calls take less than Python's own 5 ms.
SWITCH = 0.0005
#: Seconds to wait for what a server that was just stopped still has: the lock of its database, and its port.
LOCK_WAIT = 3.0
#: Seconds that answers under way get when the server stops; held calls are answered at once.
GRACE = 10


def migrate(database: str) -> str:
    """Bring a database to the newest version and return that version."""
    db = Database(database)
    try:
        apply_migrations(db)
        return find_pending(db)[0] or ""
    finally:
        db.close()


def back_up(home: Home, database: str | None, path: Path) -> dict[str, int]:
    """Write a database, else the embedded one, to a file and return its rows by table."""
    db = Database(database or f"sqlite:///{home.database}")
    try:
        missing = db.is_sqlite and not Path(db.engine.url.database or "").exists()
        if missing or find_pending(db)[0] is None:
            raise BadInput([f"there is no database of p3s at {db.show_address()}; name one with --database"])
        return backup_database(db, path)
    finally:
        db.close()


def fill_from(home: Home, database: str | None, path: Path) -> dict[str, int]:
    """Fill an empty database, else the embedded one, from a backup and return its rows by table.

    Raises
    ------
    Conflict
        If a server runs on the embedded database.
    """
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    db = Database(database or f"sqlite:///{home.database}")
    lock = _lock_database(home.path / "server.lock") if db.is_sqlite else None
    try:
        return restore_database(db, path)
    finally:
        db.close()
        if lock is not None:
            os.close(lock)


def serve(
    home: Home,
    *,
    database: str | None,
    host: str,
    port: int,
    descriptor: int | None = None,
    workers: int = 1,
    threads: int = THREADS,
    certificate: Path | None = None,
    key: Path | None = None,
    notify: Notify | None = None,
    **given: Any,
) -> None:
    """Run the server until it is told to stop; it does not return.

    Parameters
    ----------
    home : Home
        Where tokens of the first start, and the embedded database, are kept.
    database : str or None
        An address; None for the embedded SQLite database.
    host, port : str, int
        Where to listen.
    descriptor : int or None
        The number of a socket that listens there already; it becomes this process's own.
    workers, threads : int
        Processes, and threads of each. SQLite has exactly one process.
    certificate, key : Path or None
        PEM files; with them the server speaks TLS.
    notify : Notify or None
        Whom to tell of what goes wrong.
    **given
        Further fields of `ServerSettings`; they win over those of the environment.

    Raises
    ------
    BadInput
        If the database and the number of workers do not fit, a setting of the environment is none, the
        certificate or the address cannot be used, or the database has an older version.
    Conflict
        If another server runs on this embedded database, or the port is taken.
    """
    # Whatever it writes, into whatever folder: the database has the secret that signs sessions.
    os.umask(0o077)
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    style, level = read_log_settings()
    fields: dict[str, Any] = {**read_durations(), **read_counts(), "purge": read_policy(), **given}
    fields["secure"] = certificate is not None or fields.get("proxies", 0) > 0
    settings = ServerSettings(database=database or f"sqlite:///{home.database}", home=home, **fields)
    tls = _check_certificate(certificate, key)
    open_log(style, level)
    _warn_of_exposure(settings, host)
    db = Database(settings.database)
    if db.is_sqlite and workers != 1:
        raise BadInput([f"SQLite is served by exactly one process, not {workers}; use PostgreSQL for more"])
    lock = _lock_database(home.path / "server.lock") if db.is_sqlite else None
    _prepare_database(db, settings.database)
    # Made before the workers are forked, which share them.
    buckets = Buckets()
    core = Core(db, settings, buckets)
    ensure_tokens(core, home)
    # Connections do not survive the fork into workers.
    db.close()
    # Before anybody is told the address, and as late as can be: who calls from here on waits for the workers.
    if descriptor is None:
        descriptor = open_port(host, port, patience=LOCK_WAIT).detach()
    _write_server_file(home, "https" if tls else "http", host, port)
    if workers > 1:
        # Read by the library of metrics when it is imported, which the workers do.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="p3s-metrics-")
    master = os.getpid()
    try:
        _Gunicorn(settings, buckets, descriptor, workers, threads, tls, notify).run()
    finally:
        # A worker is forked inside this block, and passes here when it ends.
        if os.getpid() == master:
            home.server_file.unlink(missing_ok=True)
            if workers > 1:
                shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
            if lock is not None:
                os.close(lock)


def _prepare_database(db: Database, address: str) -> None:
    current, newest = find_pending(db)
    if current == newest:
        return
    if db.is_sqlite or current is None:
        # An embedded or an empty database belongs to this server alone.
        apply_migrations(db)
        return
    brings = f"`p3s server migrate --database {address}` brings it"
    raise BadInput([f"the database has version {current}, this p3s needs {newest}; {brings}"])


def _lock_database(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    # A worker whose master was killed lives a moment longer.
    end = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                os.close(descriptor)
                raise Conflict(
                    f"another server runs on {path.parent}; stop it, or set P3S_HOME to another folder"
                ) from error
            time.sleep(0.1)
        else:
            return descriptor


def _check_certificate(certificate: Path | None, key: Path | None) -> dict[str, str]:
    """Return gunicorn's options for TLS; none if there is no certificate."""
    if certificate is None and key is None:
        return {}
    if certificate is None or key is None:
        raise BadInput(["TLS needs both --certificate and --key; give the other one, too"])
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        cause = error.strerror or error
        raise BadInput([f"certificate {certificate} with key {key} cannot be used: {cause}"]) from error
    return {"certfile": str(certificate), "keyfile": str(key)}


def _warn_of_exposure(settings: ServerSettings, host: str) -> None:
    """Say loudly that tokens will travel in the clear, or that anyone may read."""
    if settings.open_reading:
        log.warning("anyone who reaches this server may read everything without a token (--open-reading)")
    if settings.secure or is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}"):
        return
    log.warning(
        "WARNING: listening on %s without TLS. Tokens and data can be read on the way, and whoever has a submitter's "
        "token runs programs on every pilot. Give --certificate and --key, or listen on 127.0.0.1 behind a proxy "
        "that speaks TLS, with --trusted-proxies 1",
        host,
    )


def _write_server_file(home: Home, scheme: str, host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    text = json.dumps({"url": f"{scheme}://{shown}:{port}", "pid": os.getpid()})
    temporary = home.server_file.with_suffix(".new")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(home.server_file)


class _Gunicorn(BaseApplication):
    """Gunicorn with its settings from here instead of a file."""

    def __init__(
        self,
        settings: ServerSettings,
        buckets: Buckets,
        descriptor: int,
        workers: int,
        threads: int,
        tls: dict[str, str],
        notify: Notify | None,
    ) -> None:
        self._settings, self._buckets = settings, buckets
        self._options: dict[str, Any] = {
            **tls,
            "bind": f"fd://{descriptor}",
            "workers": workers,
            "threads": threads,
            "worker_class": "p3s.server.worker.StayingWorker",
            "worker_connections": threads + 1000,
            "keepalive": 75,
            "timeout": 60,
            "graceful_timeout": GRACE,
            "control_socket_disable": True,
            "proc_name": "p3s server",
            "loglevel": "warning",
            "logger_class": GunicornLogger,
            # Only our own reading of these headers counts, see --trusted-proxies.
            "secure_scheme_headers": {},
            "forwarder_headers": "",
            "post_worker_init": partial(_start_threads, notify),
            "worker_exit": _close,
            "child_exit": _forget_metrics,
        }
        super().__init__()

    def load_config(self) -> None:
        """Set the options that this version of gunicorn knows."""
        for name, value in self._options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application, in the worker."""
        # Imported here, because the library of metrics looks at its import how many processes there are.
        from p3s.server.app import create_app  # noqa: PLC0415

        return create_app(Database(self._settings.database), self._settings, self._buckets)


def _start_threads(notify: Notify | None, worker: Any) -> None:
    sys.setswitchinterval(SWITCH)
    # What was imported stays: the collector need not look at it again and again, which took half of a large answer.
    gc.collect()
    gc.freeze()
    core: Core = worker.wsgi.extensions["p3s"]
    threading.Thread(target=_warm_up, args=(core,), name="rehearsal", daemon=True).start()
    worker.wsgi.extensions["p3s-sweeper"] = sweeper = Sweeper(core)
    sweeper.start()
    if notify is not None:
        Notifier(core, notify).start()
    if core.settings.purge:
        Purger(core, core.settings.purge).start()
    threading.Thread(target=_release_waits, args=(worker, core), name="stop watch", daemon=True).start()


def _warm_up(core: Core) -> None:
    try:
        core.db.lengthen_log()
    except Exception:
        log.warning("the log of the database stays short; the first commits take a moment longer", exc_info=True)
    rehearse(core.db, core.settings)
    gather_memory()


def _release_waits(worker: Any, core: Core) -> None:
    """Answer held calls as soon as the worker is to stop, and do not outlive a master that was killed."""
    while worker.alive and os.getppid() == worker.ppid:
        time.sleep(0.1)
    core.hub.close()
    if os.getppid() != worker.ppid:
        # Nobody is left to stop this worker; what is not committed is not acknowledged, so nothing is lost.
        time.sleep(0.5)
        os._exit(1)


def _forget_metrics(_server: Any, worker: Any) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import multiprocess  # noqa: PLC0415 - the master has no other need of it

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def _close(_server: Any, worker: Any) -> None:
    extensions = getattr(getattr(worker, "wsgi", None), "extensions", {})
    if "p3s-sweeper" in extensions:
        extensions["p3s-sweeper"].stop()
    if "p3s" in extensions:
        extensions["p3s"].hub.close()
        extensions["p3s"].db.close()
