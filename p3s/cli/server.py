"""``p3s server``: run the server itself; migrate, back up and restore its database."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from p3s.cli.common import add_example
from p3s.cli.output import tell
from p3s.errors import BadInput, Problem
from p3s.notify.rules import load_notify
from p3s.server.serve import back_up, fill_from, serve
from p3s.server.serve import migrate as migrate_database
from p3s.settings import DEFAULT_PORT, find_database, find_home, find_notify
from p3s.supervise import exit_with_parent
from p3s.systemd import UNITS, make_unit

__all__ = ["backup", "migrate", "restore", "start", "unit"]

_database_option = click.option(
    "--database",
    metavar="ADDRESS",
    help="An SQLAlchemy address; else P3S_DATABASE, else SQLite in the home folder.",
)


@add_example(
    "p3s server start",
    "p3s server start --database postgresql://p3s@db/p3s --trusted-proxies 1",
    "p3s server start --notify notify.yaml",
    "p3s server start --host 0.0.0.0 --certificate chain.pem --key key.pem",
)
@click.command()
@_database_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="The port.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes; SQLite has one.")
@click.option("--certificate", type=click.Path(path_type=Path), help="PEM file with the certificate chain, for TLS.")
@click.option("--key", type=click.Path(path_type=Path), help="PEM file with the certificate's key.")
@click.option(
    "--trusted-proxies",
    "proxies",
    type=click.IntRange(0, 10),
    default=0,
    show_default=True,
    help="Proxies in front, whose X-Forwarded headers are believed.",
)
@click.option("--open-reading", is_flag=True, help="Let anyone read without a token.")
@click.option(
    "--notify",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Whom to tell of what goes wrong; else P3S_NOTIFY.",
)
@click.option("--listener", "descriptor", type=int, hidden=True)
@click.option("--exit-with-parent", "parent", type=int, hidden=True)
def start(
    database: str | None,
    host: str,
    port: int,
    workers: int,
    certificate: Path | None,
    key: Path | None,
    proxies: int,
    notify: Path | None,
    descriptor: int | None,
    parent: int | None,
    *,
    open_reading: bool,
) -> None:
    """Run the server in the foreground.

    It ends on SIGTERM or Ctrl-C. On SQLite the database is migrated at start; on PostgreSQL
    `p3s server migrate` does that.
    """
    if parent is not None:
        exit_with_parent(parent)
    named = find_notify(notify)
    serve(
        find_home(),
        database=find_database(database),
        host=host,
        port=port,
        descriptor=descriptor,
        workers=workers,
        certificate=certificate,
        key=key,
        notify=load_notify(named) if named else None,
        proxies=proxies,
        open_reading=open_reading,
    )


@add_example("p3s server unit server > /etc/systemd/system/p3s-server.service")
@click.command()
@click.argument("name", metavar="|".join(UNITS), type=click.Choice(UNITS))
def unit(name: str) -> None:
    """Print a unit for systemd of the server, of pilots or of injectors.

    It starts the p3s that prints it. Its first lines say where it belongs and what it needs.
    """
    # The program beside this interpreter: what is first on the PATH now may not be there at boot.
    program = Path(sys.executable).absolute().parent / "p3s"
    if not program.exists():
        raise BadInput([Problem("is not there; install p3s with its command", file=str(program))])
    click.echo(make_unit(name, str(program)), nl=False)


@add_example("p3s server migrate --database postgresql://p3s@db/p3s")
@click.command()
@_database_option
def migrate(database: str | None) -> None:
    """Bring the database to this version's tables."""
    version = migrate_database(find_database(database))
    tell(f"the database is up to date (version {version})")


@add_example("p3s server backup p3s-backup.gz", "p3s server backup --database postgresql://p3s@db/p3s p3s-backup.gz")
@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@_database_option
def backup(file: Path, database: str | None) -> None:
    """Write the whole database to a file, while the server works.

    The file can be restored into SQLite or PostgreSQL. Outputs of jobs are files of their own and not in it.
    """
    counts = back_up(find_home(), find_database(database), file)
    tell(f"{file} has {counts['workflow']} workflows and {counts['job']} jobs; keep it closed, it holds secrets")


@add_example("p3s server restore p3s-backup.gz", "p3s server restore --database postgresql://p3s@db/new backup.gz")
@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@_database_option
def restore(file: Path, database: str | None) -> None:
    """Fill an empty database from a backup.

    The server must not run on it yet.
    """
    counts = fill_from(find_home(), find_database(database), file)
    tell(f"{counts['workflow']} workflows and {counts['job']} jobs are back; `p3s server start` goes on with them")
