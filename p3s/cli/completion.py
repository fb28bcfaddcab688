"""``p3s completion``: what a shell needs to complete commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from p3s.cli.common import add_example

__all__ = ["completion"]


@add_example('eval "$(p3s completion bash)"', "p3s completion fish > ~/.config/fish/completions/p3s.fish")
@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands in a shell."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, "p3s", "_P3S_COMPLETE").source())
