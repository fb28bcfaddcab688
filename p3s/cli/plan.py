"""``p3s workflow plan``: what a file would run, computed here; nothing is stored."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p3s.cli.common import add_example, add_server_option, connect, parse_pairs
from p3s.cli.output import clean_text, format_age, format_size, print_fields, print_json, shorten_id, tell
from p3s.engine.graph import find_critical_path, find_generations, schedule_plan
from p3s.engine.matching import Offer, Requirement, find_mismatches
from p3s.errors import P3sError
from p3s.submit import prepare_plan

if TYPE_CHECKING:
    from p3s.engine.plan import JobPlan, WorkflowPlan
    from p3s.wire import PilotView

__all__ = ["plan"]


@add_example("p3s workflow plan dag.yaml -p run=004610", "p3s workflow plan dag.yaml --json")
@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the names of the jobs only.")
@add_server_option
def plan(file: Path, params: tuple[str, ...], url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Show what a file would run; nothing is stored.

    For each job: its edges, environment and script, and which live pilots could run it, if a server answers.
    """
    found = schedule_plan(prepare_plan(file, parse_pairs(params, "-p")), {})
    if quiet:
        for name in found.jobs:
            click.echo(name)
        return
    generations = find_generations(found)
    path = find_critical_path(found)
    matches = _match_pilots(found, url)
    if as_json:
        content = asdict(found) | {"generations": generations, "path": path, "pilots": matches}
        print_json(content)
    else:
        _print_plan(found, generations, path, matches)


def _print_plan(found: WorkflowPlan, generations: list[list[str]], path: list[str], matches: dict[str, Any]) -> None:
    print_fields(
        [
            ("workflow", found.name),
            ("params", " ".join(f"{name}={value}" for name, value in found.params.items())),
            ("jobs", str(len(found.jobs))),
            ("datasets", str(len(found.datasets))),
            ("files", " ".join(found.files)),
            ("critical path", f"{' > '.join(path)}, expected {format_age(found.critical_path)}"),
        ]
    )
    for number, names in enumerate(generations, 1):
        click.echo(clean_text(f"generation {number}  {' '.join(names)}"))
    for dataset in found.datasets.values():
        if dataset.origin is not None:
            click.echo(clean_text(f"external {dataset.key}  from {dataset.origin} (the workflow started last)"))
        elif dataset.producer is None:
            there = "available" if dataset.available else "not there yet"
            click.echo(clean_text(f"external {dataset.key}  {dataset.place} ({there}, {format_size(dataset.size)})"))
    for job in found.jobs.values():
        _print_job(job, matches.get(job.name))


def _print_job(job: JobPlan, match: dict[str, Any] | None) -> None:
    click.echo()
    click.echo(clean_text(f"job {job.name}") + (" (skipped by its `if`)" if job.skipped else ""))
    inputs = [f"{item.name}: {' '.join(item.keys)}{' (partial)' if item.partial else ''}" for item in job.inputs]
    needs = [f"{name}{' (done)' if done else ''}" for name, done in job.needs]
    resources = job.resources
    fields = [
        *(("input", text) for text in inputs),
        *(("output", f"{item.name}: {item.key} as {item.path}") for item in job.outputs),
        ("needs", ", ".join(needs)),
        *(("axis", f"{name}={value}") for name, value in job.axes.items()),
        *(("env", f"{name}={_show_value(value)}") for name, value in job.env.items()),
        ("jobtype", f"{job.jobtype}, priority {job.priority}, time limit {format_age(job.timelimit)}"),
        ("retry", f"{job.retry.max} more tries" if job.retry.max else ""),
        ("needs from its pilot", _show_resources(resources.cpus, resources.memory, resources.labels)),
        *(("publish", f"{name} as {place}") for name, place in job.publish.items()),
        ("pilots", _show_match(match)),
    ]
    shown = [(name, clean_text(value)) for name, value in fields if value]
    for name, value in shown:
        click.echo(f"  {name}: {value}")
    if job.payload is not None:
        click.echo(clean_text(f"  payload: {' '.join((job.payload, *job.args))}"))
    elif job.run is not None:
        click.echo(clean_text(f"  run, by {job.shell}:"))
        for line in job.run.rstrip("\n").split("\n"):
            click.echo(f"    {clean_text(line)}")
    else:
        click.echo("  no payload: finishes by itself when its predecessors are done")


def _show_value(value: str | dict[str, str]) -> str:
    return value if isinstance(value, str) else f"(the secret {value['secret']} of the pilot's host)"


def _show_resources(cpus: int, memory: int, labels: tuple[str, ...]) -> str:
    parts = [f"{cpus} cpus", format_size(memory) if memory else "", *labels]
    return ", ".join(part for part in parts if part)


def _show_match(match: dict[str, Any] | None) -> str:
    if match is None:
        return ""
    if match["fit"]:
        return f"{', '.join(match['fit'])} could run it"
    if not match["misfit"]:
        return "none is live"
    reasons = "; ".join(f"{name}: {', '.join(why)}" for name, why in match["misfit"].items())
    return f"none of {len(match['misfit'])} could run it ({reasons})"


def _match_pilots(found: WorkflowPlan, url: str | None) -> dict[str, Any]:
    """Return for each job which live pilots could run it; nothing, with a remark, if no server says."""
    try:
        client = connect(url)
        # One try: a plan is made without a server, too, and should not wait for one.
        client.check_health()
        owner, pilots = client.ask_who().name, list(client.iterate_pilots(live=True))
    except P3sError as error:
        tell(f"pilots are not matched: {str(error).partition(chr(10))[0]}")
        return {}
    return {name: _match_job(job, owner, pilots) for name, job in found.jobs.items() if not job.noop}


def _match_job(job: JobPlan, owner: str, pilots: list[PilotView]) -> dict[str, Any]:
    """Return which pilots could run a job, and why others could not."""
    requirement = Requirement(
        owner=owner,
        jobtype=job.jobtype,
        cpus=job.resources.cpus,
        memory=job.resources.memory,
        labels=job.resources.labels,
        timelimit=job.timelimit,
    )
    fit: list[str] = []
    misfit: dict[str, list[str]] = {}
    for pilot in pilots:
        name = pilot.name or shorten_id(pilot.uuid)
        offer = Offer(
            cpus=pilot.cpus,
            memory=pilot.memory or None,
            labels=tuple(pilot.labels),
            users=tuple(pilot.accepts.users),
            jobtypes=tuple(pilot.accepts.jobtypes),
            lifetime=pilot.lifetime,
        )
        if reasons := find_mismatches(requirement, offer):
            misfit[name] = reasons
        else:
            fit.append(name)
    return {"fit": fit, "misfit": misfit}
