"""``p3s context``: the servers of the user's config file, and which of them commands use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from p3s.cli.common import add_example, add_output_options
from p3s.cli.output import clean_text, print_json, print_table, tell
from p3s.settings import read_client_settings, read_contexts, use_context

if TYPE_CHECKING:
    from p3s.settings import Contexts

__all__ = ["list_contexts", "use"]


@add_example("p3s context list")
@click.command()
@add_output_options
def list_contexts(*, as_json: bool, quiet: bool) -> None:
    """List the servers that the user's config file names.

    They are the tables `[contexts.NAME]` of config.toml. Tokens are not shown.
    """
    found = read_contexts()
    if as_json:
        print_json(_describe(found))
    elif quiet:
        for name in found.known:
            click.echo(clean_text(name))
    elif found.known:
        rows = [["*" if name == found.name else "", name, one.server] for name, one in found.known.items()]
        print_table(["USED", "NAME", "SERVER"], rows)
    else:
        tell(f"no contexts; tables [contexts.NAME] with `server` in {found.file} make them")


@add_example("p3s context use farm", "p3s context use --none")
@click.command()
@click.argument("name", required=False)
@click.option("--none", "nothing", is_flag=True, help="Use none of them.")
@add_output_options
def use(name: str | None, *, nothing: bool, as_json: bool, quiet: bool) -> None:
    """Let later commands use the server of a context.

    It is written into config.toml. What is asked before that file wins: --server, P3S_SERVER, ./p3s.toml.
    """
    if bool(name) == nothing:
        raise click.UsageError("give the NAME of a context, or --none")
    found = use_context(name or "")
    if as_json:
        print_json(_describe(found))
    elif name:
        click.echo(clean_text(name))
    if as_json or quiet:
        return
    if found.source == "P3S_CONTEXT":
        tell("P3S_CONTEXT is set and wins over it here")
    chosen = read_client_settings()
    tell(clean_text(f"commands here go to {chosen.url}, as {chosen.source} says"))


def _describe(found: Contexts) -> list[dict[str, str | bool]]:
    return [{"name": one.name, "server": one.server, "used": one.name == found.name} for one in found.known.values()]
