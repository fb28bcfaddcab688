"""``p3s job create standalone``: jobs outside any workflow file."""

from __future__ import annotations

import json
import shlex
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p3s.cli.common import add_example, add_output_options, add_server_option, connect, parse_pairs
from p3s.cli.output import format_count, print_json, tell
from p3s.cli.progress import show_progress
from p3s.cli.values import DURATION
from p3s.engine.load import load_standalone
from p3s.errors import BadInput, P3sError, Refused
from p3s.submit import check_payloads, make_variants, name_jobs, prepare_jobs, read_standalone, submit_jobs

if TYPE_CHECKING:
    from p3s.engine.spec import StandaloneSpec
    from p3s.wire import StandaloneJob

__all__ = ["standalone"]


@add_example(
    "p3s job create standalone jobs.json",
    "p3s job create standalone jobs.json -f a.root,b.root --set env.CUT=5",
    "p3s job create standalone --run 'date; sleep 5' --timelimit 1m",
    "p3s job create standalone --payload ./reduce.py --arg --fast --env RUN=004610 --priority 4",
)
@click.command()
@click.argument("files", type=click.Path(path_type=Path, allow_dash=True), nargs=-1)
@click.option("--run", metavar="SCRIPT", help="A shell script, instead of a file.")
@click.option("--payload", metavar="PROGRAM", help="An executable; a relative path travels along.")
@click.option("--arg", "args", multiple=True, help="An argument of --payload; repeatable.")
@click.option("--name", help="Its name.")
@click.option("--env", metavar="NAME=VALUE", multiple=True, help="An environment variable; repeatable.")
@click.option("--jobtype", help="Its jobtype.")
@click.option("--priority", type=int, help="A higher one runs first.")
@click.option("--timelimit", type=DURATION, help="How long it may run, such as 10m.")
@click.option("-N", "--number", type=click.IntRange(1, 1_000_000), default=1, help="So many replicas of a single job.")
@click.option(
    "-f",
    "--input",
    "inputs",
    metavar="FILE,...",
    envvar="P3S_INPUT_FILE",
    help="One job for each file, which finds it in P3S_INPUT_FILE; else that variable here says which.",
)
@click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Such as env.X=1; repeatable.")
@click.option("--key", help="Create each job at most once for this key, ever, however often this is said.")
@click.option("--hold", is_flag=True, help="Leave it held until `p3s workflow start`.")
@click.option("--no-check", is_flag=True, help="Do not look whether payloads exist here and are executable.")
@add_output_options
@add_server_option
def standalone(
    files: tuple[Path, ...],
    run: str | None,
    payload: str | None,
    args: tuple[str, ...],
    name: str | None,
    env: tuple[str, ...],
    jobtype: str | None,
    priority: int | None,
    timelimit: float | None,
    number: int,
    inputs: str | None,
    sets: tuple[str, ...],
    key: str | None,
    url: str | None,
    *,
    hold: bool,
    no_check: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Create jobs from a file or from options.

    FILE is YAML with `run:` or `payload:` at its top, or a JSON list of jobs. Prints the jobs' ids.
    """
    if bool(files) + (run is not None) + (payload is not None) != 1:
        raise click.UsageError("give one of FILE..., --run and --payload")
    options = {"name": name, "jobtype": jobtype, "priority": priority, "timelimit": timelimit}
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if files and (given or env or args):
        raise click.UsageError("--name, --env, --arg and the like go with --run and --payload; a FILE says it all")
    if args and payload is None:
        raise click.UsageError("--arg goes with --payload")
    if files:
        groups = [read_standalone(file) for file in files]
    else:
        given |= {"run": run} if payload is None else {"payload": _place(payload), "args": list(args)}
        text = json.dumps({**given, "env": parse_pairs(env, "--env")})
        groups = [([load_standalone(text, "command line")], Path.cwd())]
    if number > 1 and sum(len(group) for group, _ in groups) != 1:
        raise click.UsageError("-N makes replicas of a single job, and here are several")
    files_in = [file for file in (inputs or "").split(",") if file]
    values = parse_pairs(sets, "--set")
    groups = [(make_variants(group, values=values, inputs=files_in, number=number), base) for group, base in groups]
    specs: list[StandaloneSpec] = [spec for group, _ in groups for spec in group]
    if not no_check:
        for unseen in check_payloads(specs):
            tell(f"{unseen} is in a folder that is not here; it must be where the pilots run")
    jobs = [job for group, base in groups for job in prepare_jobs(group, base, hold=hold)]
    _create(jobs, key, url, as_json=as_json, quiet=quiet)


def _create(jobs: list[StandaloneJob], key: str | None, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Send the jobs, and print the id of each as soon as it is there."""
    client = connect(url)
    key = key or str(uuid.uuid4())
    jobs = name_jobs(jobs, client.ask_who().name, key)
    created: list[str] = []
    try:
        with show_progress(len(jobs), "jobs", quiet=quiet) as advance:
            for uuids in submit_jobs(client, jobs):
                created += uuids
                advance(len(created))
                if not as_json:
                    click.echo("\n".join(uuids))
    except (KeyboardInterrupt, P3sError) as error:
        if created or not isinstance(error, BadInput | Refused):
            count = format_count(len(jobs), "job")
            tell(f"{len(created)} of {count} are created for sure, and what was under way perhaps")
            tell(f"the same command with --key {shlex.quote(key)} creates the others, and none twice")
        raise
    if as_json:
        print_json({"uuids": created})
    elif not quiet:
        tell(f"{format_count(len(created), 'job')} created; `p3s job list` shows them")


def _place(payload: str) -> str:
    """Return a payload relative to the current folder, so that it travels, else absolute."""
    path = Path(payload).absolute()
    here = Path.cwd()
    if Path(payload).is_absolute() or ".." in path.parts or not path.is_relative_to(here):
        return str(path.resolve())
    return str(path.relative_to(here))
