"""``p3s up``: a server and pilots on this machine, in one home folder."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p3s.cli.common import add_example, parse_pairs
from p3s.cli.output import format_count, print_json, tell
from p3s.cli.results import print_results
from p3s.cli.up_home import get_lock_file, get_run_file, lock_home, make_home
from p3s.cli.watch import follow_workflow
from p3s.client import Client
from p3s.engine.states import WorkflowState
from p3s.errors import BadInput, NotFound, P3sError, Problem
from p3s.ports import open_port
from p3s.settings import (
    DEFAULT_PORT,
    Home,
    find_notify,
    make_local_environ,
    read_client_settings,
    read_home_token,
    read_running,
)
from p3s.submit import prepare_load
from p3s.supervise import Interrupts, Program, Supervisor

if TYPE_CHECKING:
    from p3s.wire import LoadBody

__all__ = ["up"]

#: Seconds that a server may take until it answers.
START_LIMIT = 60.0
#: Seconds for each try to cancel the workflow of an interrupted run.
CANCEL_LIMIT = 2.0
#: Ports tried after the one that was asked for.
SPARE_PORTS = 99
#: Seconds between two looks at the children.
LOOK_PAUSE = 0.2
#: How a child is started: by the same interpreter, whatever `p3s` is on the PATH.
P3S = (sys.executable, "-m", "p3s.cli.main")


@dataclass(frozen=True, slots=True)
class Options:
    """What `p3s up` was asked for."""

    home: Home
    port: int
    pilots: int
    slots: int
    rules: tuple[Path, ...] = ()
    notify: Path | None = None


@add_example(
    "p3s up", "p3s up --pilots 4 --slots 2", "p3s up --run workflows/quakes/quakes.yaml", "p3s up --inject rules.yaml"
)
@click.command()
@click.option("--pilots", type=click.IntRange(0, 1000), default=2, show_default=True, help="How many pilots.")
@click.option("--slots", type=click.IntRange(1), help="Payloads at once of each; else they share the cpus.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Where the server listens; if it is taken, the next free one.",
)
@click.option("--run", "file", type=click.Path(path_type=Path), help="Load this workflow, show its results, then stop.")
@click.option("-p", "params", metavar="NAME=VALUE", multiple=True, help="A parameter for --run; repeatable.")
@click.option(
    "--inject",
    "rules",
    metavar="RULES",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Start work for files that arrive, by these rules; repeatable.",
)
@click.option(
    "--notify",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Whom the server tells of what goes wrong; else P3S_NOTIFY.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def up(
    pilots: int,
    slots: int | None,
    port: int,
    file: Path | None,
    params: tuple[str, ...],
    rules: tuple[Path, ...],
    notify: Path | None,
    *,
    as_json: bool,
) -> int:
    """Start a server and pilots here, until Ctrl-C.

    Everything is kept in one folder that only you can read: P3S_HOME, else your data folder for p3s.
    """
    if params and file is None:
        raise click.UsageError("-p goes with --run FILE")
    if rules and file is not None:
        raise click.UsageError("--run ends by itself and --inject does not; give one of the two")
    if file is not None and pilots == 0:
        raise click.UsageError("--run needs at least one pilot")
    body = prepare_load(file, parse_pairs(params, "-p")) if file is not None else None
    _check_files(rules, find_notify(notify))
    shared = slots or max(1, (os.cpu_count() or 1) // max(1, pilots))
    options = Options(home=make_home(), port=port, pilots=pilots, slots=shared, rules=rules, notify=notify)
    interrupts = Interrupts()
    with interrupts:
        try:
            with lock_home(options.home) as locked:
                if locked:
                    return _run_system(options, body, interrupts, as_json=as_json)
            if rules or notify:
                hint = "`p3s inject start RULES` adds an injector to it" if rules else "end it, and give it --notify"
                message = f"is held by another `p3s up`; {hint}"
                raise BadInput([Problem(message, file=str(get_lock_file(options.home)))])
            return _use_running(options.home, body, as_json=as_json)
        except KeyboardInterrupt:
            tell("interrupted")
            return 130


def _run_system(options: Options, body: LoadBody | None, interrupts: Interrupts, *, as_json: bool) -> int:
    """Start everything, do the work, stop everything."""
    supervisor = Supervisor(interrupts, tell)
    started = False
    try:
        try:
            client = _start_system(options, supervisor)
            started = True
            _end_cut_run(client, options.home)
            if body is not None:
                code = _run_noted(client, body, supervisor, options.home, as_json=as_json)
            else:
                _announce(client.url, options, as_json=as_json)
                while True:
                    supervisor.check()
                    time.sleep(LOOK_PAUSE)
        except KeyboardInterrupt:
            # Ctrl-C is how a system that is up is meant to be ended.
            code = 0 if started and body is None else 130
        finally:
            # The handler raises at most once: whatever comes from here on is only counted.
            interrupts.close()
    finally:
        tell("stopping")
        supervisor.stop()
    tell("stopped; nothing is left running" if code != 130 else "interrupted; nothing is left running")
    if body is not None and code != 130:
        _show_next_commands()
    return code


def _start_system(options: Options, supervisor: Supervisor) -> Client:
    """Start the server, unless one runs in this home, wait until it answers, start the pilots."""
    home = options.home
    environ = make_local_environ(home)
    parent = ("--exit-with-parent", str(os.getpid()))
    url = read_running(home)
    if url and _answers(Client(url)):
        if options.notify:
            raise BadInput([f"a server runs at {url} already; end it, and give it --notify"])
        tell(f"a server runs at {url} already; only pilots are started")
    else:
        url = _start_server(options, supervisor, environ, parent)
    for number in range(1, options.pilots + 1):
        supervisor.start(_make_pilot(number, url, options, environ, parent))
    for number, rules in enumerate(options.rules, 1):
        command = (*P3S, "inject", "start", str(rules.absolute()), "--server", url, *parent)
        supervisor.start(Program(f"injector {rules.name}", command, home.logs / f"inject-{number}.log", environ))
    return Client(url, read_home_token(home, "admin"))


def _check_files(rules: tuple[Path, ...], notify: Path | None) -> None:
    """Raise all problems of files of rules, and of the one of notifications, before anything is started."""
    if not (rules or notify):
        return
    # They bring what a plain `p3s up` does without.
    from p3s.inject.rules import load_rules  # noqa: PLC0415
    from p3s.notify.rules import load_notify  # noqa: PLC0415

    problems: list[Problem] = []
    for load, file in [*((load_rules, file) for file in rules), *([(load_notify, notify)] if notify else [])]:
        try:
            load(file)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)


def _start_server(options: Options, supervisor: Supervisor, environ: dict[str, str], parent: tuple[str, ...]) -> str:
    """Start the server, wait until it answers, and return its address."""
    home = options.home
    # Left behind by a server that was killed.
    home.server_file.unlink(missing_ok=True)
    # Kept open here: a server that is started again finds its port free, and callers wait for it meanwhile.
    listener = open_port("127.0.0.1", options.port, spare=SPARE_PORTS)
    port = listener.getsockname()[1]
    if port != options.port:
        tell(f"port {options.port} is taken; the server uses {port}")
    notify = ("--notify", str(options.notify.absolute())) if options.notify else ()
    where = ("--host", "127.0.0.1", "--port", str(port), "--listener", str(listener.fileno()))
    command = (*P3S, "server", "start", *where, *notify, *parent)
    log = home.logs / "server.log"
    supervisor.start(Program("the server", command, log, environ, sockets=(listener,)))
    url = f"http://127.0.0.1:{port}"
    _await_server(home, url, supervisor, log)
    return url


def _make_pilot(number: int, url: str, options: Options, environ: dict[str, str], parent: tuple[str, ...]) -> Program:
    name = f"local-{number}"
    home = options.home
    folders = ("--data", str(home.data), "--work", str(home.work / name), "--log", str(home.logs))
    # This user's own machine, and this user's own jobs: that it is root here is the user's choice.
    root = ("--allow-root",) if os.geteuid() == 0 else ()
    settings = ("--server", url, "--name", name, "--slots", str(options.slots), "--cycles", "0")
    command = (*P3S, "pilot", "start", *settings, *folders, *root, *parent)
    return Program(f"pilot {name}", command, home.logs / f"{name}.log", environ, may_leave=True)


def _await_server(home: Home, url: str, supervisor: Supervisor, log: Path) -> None:
    client = Client(url)
    limit = time.monotonic() + START_LIMIT
    while True:
        supervisor.check_alive("the server")
        # The server writes its own address once its tokens are made; nobody else's answer is taken for its.
        if read_running(home) == url and _answers(client):
            return
        if time.monotonic() > limit:
            raise P3sError(f"the server at {url} has not answered for {START_LIMIT:.0f} s; its log is {log}")
        time.sleep(LOOK_PAUSE / 4)


def _answers(client: Client) -> bool:
    try:
        return client.check_health(timeout=2.0)
    except P3sError:
        # Not yet: the caller asks again until its limit.
        return False


def _run_workflow(client: Client, body: LoadBody, supervisor: Supervisor | None = None, *, as_json: bool) -> int:
    """Load a workflow, follow it, print its results; 1 if it did not finish."""
    reply = client.load_workflow(body)
    tell(f"{reply.name} {reply.uuid}: {format_count(reply.jobs, 'job')}")
    between = supervisor.check if supervisor else None
    found = follow_workflow(client, reply.uuid, as_json=as_json, between=between)
    if not as_json:
        print_results(client, found)
    return 0 if found.state is WorkflowState.FINISHED else 1


def _run_noted(client: Client, body: LoadBody, supervisor: Supervisor, home: Home, *, as_json: bool) -> int:
    """Run a workflow that ends with this process, or at the next start if this process is killed."""
    file = get_run_file(home)
    file.write_text(body.uuid)
    try:
        code = _run_workflow(client, body, supervisor, as_json=as_json)
    except BaseException:
        _end_cut_run(client, home)
        raise
    file.unlink()
    return code


def _end_cut_run(client: Client, home: Home) -> None:
    """Cancel the workflow of a run that was cut off, in this process or an earlier one.

    Nobody waits for it any more, and the next run must not begin with what it left.
    """
    file = get_run_file(home)
    if not file.exists():
        return
    uuid = file.read_text()
    try:
        client.cancel_workflow(uuid, timeout=CANCEL_LIMIT)
    except (NotFound, BadInput):
        # It was cut off before it was loaded, or even before the file was written.
        pass
    except P3sError as error:
        tell(f"workflow {uuid} of the run that was cut off is not cancelled, the next `p3s up` does that: {error}")
        return
    else:
        tell(f"workflow {uuid} of the run that was cut off is cancelled")
    file.unlink()


def _use_running(home: Home, body: LoadBody | None, *, as_json: bool) -> int:
    """Say where the system of this home runs, or run the workflow there."""
    limit = time.monotonic() + START_LIMIT
    while True:
        # The other `p3s up` may just be starting.
        url = read_running(home)
        if url and _answers(Client(url)):
            break
        if time.monotonic() > limit:
            message = "is held by another `p3s up` whose server does not answer; stop that one first"
            raise BadInput([Problem(message, file=str(get_lock_file(home)))])
        time.sleep(LOOK_PAUSE)
    if body is None:
        tell("already running")
        print_json({"url": url, "home": str(home.path)}) if as_json else click.echo(url)
        return 0
    tell(f"using the server that runs at {url}; it stays up")
    code = _run_workflow(Client(url, read_home_token(home, "admin")), body, as_json=as_json)
    program = _name_program()
    tell(f"next:\n  {program} workflow show @last\n  {program} job list")
    return code


def _announce(url: str, options: Options, *, as_json: bool) -> None:
    home = options.home
    if as_json:
        print_json({"url": url, "home": str(home.path), "pilots": options.pilots, "slots": options.slots})
    else:
        click.echo(url)
    sys.stdout.flush()
    tell(
        f"the server is up with {format_count(options.pilots, 'pilot')} of {format_count(options.slots, 'slot')}\n"
        f"  open   {url}/\n"
        f"  token  {home.token_file('admin')}\n"
        f"  logs   {home.logs}" + (f"\n  rules  {', '.join(map(str, options.rules))}" if options.rules else "")
    )
    chosen = read_client_settings()
    if chosen.url != url:
        tell(f"commands go to {chosen.url} (from {chosen.source}); give them --server {url} to use this one")
    else:
        program = _name_program()
        tell(f"try    {program} workflow load FILE --watch\nCtrl-C ends it")


def _show_next_commands() -> None:
    program = _name_program()
    tell(
        "next:\n"
        f"  {program} up                    # the same system, left running until Ctrl-C; then, elsewhere:\n"
        f"  {program} workflow show @last\n"
        f"  {program} job list"
    )


def _name_program() -> str:
    """Return what the user has to type to run this program again."""
    path = Path(sys.argv[0])
    if path.name != "p3s":
        return f"{sys.executable} -m p3s.cli.main"
    found = shutil.which("p3s")
    if found and Path(found).resolve() == path.resolve():
        return "p3s"
    absolute = path.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)
