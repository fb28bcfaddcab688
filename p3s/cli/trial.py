"""``p3s job try``: a job here and now, without a server."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p3s.cli.common import add_example, parse_pairs
from p3s.cli.output import format_age, print_json, tell
from p3s.engine.expand import expand_standalone
from p3s.errors import BadInput, Problem
from p3s.submit import make_variants, read_bundle, read_standalone

if TYPE_CHECKING:
    from p3s.engine.spec import StandaloneSpec

__all__ = ["try_job"]


@add_example("p3s job try job.yaml", "p3s job try jobs.json --name EvDisp -f a.root --payload ./new.sh --keep")
@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--name", help="Which job of a list.")
@click.option("--payload", metavar="PROGRAM", help="Another executable.")
@click.option("-f", "--input", "input_file", metavar="FILE", envvar="P3S_INPUT_FILE", help="Another P3S_INPUT_FILE.")
@click.option(
    "-o", "--output", "output_file", metavar="FILE", envvar="P3S_OUTPUT_FILE", help="Another P3S_OUTPUT_FILE."
)
@click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Such as env.X=1; repeatable.")
@click.option("--secrets", type=click.Path(path_type=Path, exists=True), help="A file with values of `secret:`.")
@click.option("--keep", is_flag=True, help="Keep the sandbox, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, after what the job printed.")
def try_job(
    file: Path,
    name: str | None,
    payload: str | None,
    input_file: str | None,
    output_file: str | None,
    sets: tuple[str, ...],
    secrets: Path | None,
    *,
    keep: bool,
    as_json: bool,
) -> int:
    """Run a job here and now, without a server.

    It gets the sandbox, the environment, the time limit and the checks that a pilot would give it. What it prints is
    shown; what it makes stays in a temporary folder.
    """
    # The pilot's parts are needed by this command only.
    from p3s.pilot.failure import AttemptFailed  # noqa: PLC0415
    from p3s.pilot.trial import make_order, run_trial  # noqa: PLC0415

    specs, base = read_standalone(file)
    spec = _choose(specs, name, file)
    values = parse_pairs(sets, "--set")
    if payload is not None:
        values["payload"] = payload
    if output_file is not None:
        values["env.P3S_OUTPUT_FILE"] = output_file
    (spec,) = make_variants([spec], values=values, inputs=[input_file] if input_file else [])
    files = read_bundle(spec, base)
    plan = expand_standalone(spec, [entry.path for entry in files])
    bundle = {hashlib.sha256(entry.data).hexdigest(): entry for entry in files}
    folder = Path(tempfile.mkdtemp(prefix="p3s-try-"))
    try:
        report = run_trial(make_order(plan, bundle), folder, bundle, secrets=secrets, keep=keep)
    except AttemptFailed as failure:
        tell(f"not started ({failure.reason}): {failure}")
        return 1
    finally:
        made = any((folder / "data").rglob("*"))
        if not (keep or made):
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(report.model_dump(mode="json", exclude={"token", "stdout", "stderr"}))
    said = f"{report.reason}: {report.message}" if report.kind == "failed" else f"finished in {format_age(report.wall)}"
    tell(f"{spec.name}: {said}")
    for output in report.outputs:
        tell(f"output {output.name}: {output.path}")
    if keep:
        tell(f"the sandbox is in {folder / 'work'}")
    return 0 if report.kind == "succeeded" else 1


def _choose(specs: list[StandaloneSpec], name: str | None, file: Path) -> StandaloneSpec:
    fitting = [spec for spec in specs if name in {None, spec.name}]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(dict.fromkeys(spec.name for spec in specs))
    said = f"has no job '{name}'" if not fitting else f"has {len(fitting)} jobs; --name says which"
    raise BadInput([Problem(f"{said}: {names}", file=str(file))])
