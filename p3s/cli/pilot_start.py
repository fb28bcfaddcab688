"""``p3s pilot start``: run a pilot here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from p3s.cli.common import add_example, add_server_option
from p3s.cli.protection import add_protection_options, make_protection
from p3s.cli.values import DURATION, SIZE
from p3s.pilot.main import run_pilot
from p3s.pilot.options import PilotOptions, choose_data
from p3s.pilot.site import OPEN_FIELDS
from p3s.settings import find_home, read_client_settings
from p3s.supervise import exit_with_parent

__all__ = ["start"]


@add_example(
    "p3s pilot start --server http://farm:8440 --slots 8",
    "p3s pilot start --site cern --label gpu --cycles 10 --period 30s --lifetime 12h",
)
@click.command()
@click.option("--name", default="", help="For people.")
@click.option(
    "--site", default="default", show_default=True, help="The site that it belongs to, whose settings it fetches."
)
@click.option("--slots", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Payloads at once.")
@click.option(
    "--cycles",
    type=click.IntRange(0),
    help="Exit after so many empty polls in a row; else the site's, else 0: go on for ever.",
)
@click.option("--period", type=DURATION, help="Length of a poll; else the site's, else 50s.")
@click.option("--data", metavar="FOLDER|URL", help="Where outputs are kept; else the site's, else in the home folder.")
@click.option("--work", type=click.Path(path_type=Path), help="Where payloads run; else in the home folder.")
@click.option("--log", type=click.Path(path_type=Path), help="Where its log is kept; else in the home folder.")
@click.option("--label", "labels", multiple=True, help="What this machine offers; repeatable.")
@click.option("--cpus", type=click.IntRange(1), help="Sum over its payloads; else those of the machine.")
@click.option("--memory", type=SIZE, default="0", help="Sum over its payloads, such as 16GB; else no limit.")
@click.option(
    "--beat", type=DURATION, help="Time between signs of life, if the server asks for fewer; else the site's."
)
@click.option("--lifetime", type=DURATION, help="Leave after this long, such as 12h; else the site's.")
@click.option("--accept-user", "users", multiple=True, help="Run only jobs of this owner; repeatable.")
@click.option("--accept-jobtype", "jobtypes", multiple=True, help="Run only jobs of this type; repeatable.")
@click.option(
    "--secrets",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON or TOML file with the values of `secret:` variables.",
)
@add_protection_options
@click.option("--keep", is_flag=True, help="Keep the folders that payloads ran in.")
@click.option("--allow-root", is_flag=True, help="Run payloads as root outside a container, too.")
@click.option(
    "--register-limit",
    type=DURATION,
    default="5m",
    show_default=True,
    help="How long to try to reach the server at first.",
)
@click.option(
    "--staging-limit",
    type=DURATION,
    default="1h",
    show_default=True,
    help="How long bringing a job's inputs from URLs may take, and its outputs there.",
)
@click.option("--exit-with-parent", "parent", type=int, hidden=True)
@add_server_option
def start(
    name: str,
    site: str,
    slots: int,
    cycles: int | None,
    period: float | None,
    data: str | None,
    work: Path | None,
    log: Path | None,
    labels: tuple[str, ...],
    cpus: int | None,
    memory: int,
    beat: float | None,
    lifetime: float | None,
    users: tuple[str, ...],
    jobtypes: tuple[str, ...],
    secrets: Path | None,
    register_limit: float,
    staging_limit: float,
    parent: int | None,
    url: str | None,
    payloads: tuple[Path, ...],
    published: tuple[str, ...],
    passed: tuple[str, ...],
    limits: tuple[str, ...],
    umask: str | None,
    *,
    clean: bool,
    enforce: bool,
    isolate: bool,
    keep: bool,
    allow_root: bool,
) -> int:
    """Run a pilot here, in the foreground.

    What its site defines (`p3s site show`) holds where no option is given. SIGTERM or Ctrl-C lets it finish what it
    runs; a second one hands that back. Exits 0 if all was well, 1 if
    the server could not be reached, 2 if the server sent it away, 3 or 4 if its answers made no sense, 255 if
    the log folder cannot be used.
    """
    if parent is not None:
        exit_with_parent(parent)
    chosen = {"url": url, "cycles": cycles, "period": period, "beat": beat, "lifetime": lifetime, "data": data}
    protection = make_protection(
        payloads=payloads,
        published=published,
        passed=passed,
        limits=limits,
        umask=umask,
        clean=clean,
        enforce=enforce,
        isolate=isolate,
        secrets=secrets,
    )
    settings = read_client_settings(url, role="pilot")
    home = find_home()
    options = PilotOptions(
        url=settings.url,
        token=settings.token,
        data=home.data,
        work=(work or home.work).absolute(),
        logs=(log or home.logs).absolute(),
        name=name,
        site=site,
        slots=slots,
        cycles=cycles or 0,
        period=50.0 if period is None else period,
        beat=beat,
        labels=labels,
        cpus=cpus or 0,
        memory=memory,
        lifetime=lifetime,
        users=users,
        jobtypes=jobtypes,
        secrets=secrets,
        protection=protection,
        keep=keep,
        allow_root=allow_root,
        register_limit=register_limit,
        staging_limit=staging_limit,
    )
    return run_pilot(
        replace(options, **choose_data(data)) if data is not None else options,
        left_open={*OPEN_FIELDS} - {field for field, value in chosen.items() if value is not None},
    )
