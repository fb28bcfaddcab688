"""The entry of ``p3s``: find the command, run it, turn its end into an exit code.

Exit codes: 0 done, 1 the work failed, 3 server unreachable, 4 refused, 5 not found, 64 usage or bad input,
130 interrupted. `p3s pilot start` has codes of its own.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from p3s import __version__
from p3s.cli.tree import COMMANDS, GROUPS
from p3s.errors import P3sError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["build_cli", "run", "run_command"]

USAGE_EXIT = 64
INTERRUPTED_EXIT = 130


class LazyGroup(click.Group):
    """A group that imports a command only when it is run.

    Parameters
    ----------
    path : str
        Its words after ``p3s``, such as ``job create``; empty for ``p3s`` itself.
    """

    def __init__(self, path: str, **settings: Any) -> None:
        super().__init__(name=path.rpartition(" ")[2] or "p3s", **settings)
        self.path = path

    def _find_children(self) -> dict[str, str]:
        """Return the names of the commands right below, with their lines in the listing."""
        start = f"{self.path} " if self.path else ""
        lines = {**{path: text for path, (_, text) in COMMANDS.items()}, **GROUPS}
        below = {path.removeprefix(start): text for path, text in lines.items() if path.startswith(start)}
        return {name: text for name, text in below.items() if name and " " not in name}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands in the order of the table."""
        return list(self._find_children())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command or group of this name, importing its module."""
        path = f"{self.path} {cmd_name}".strip()
        if path in GROUPS:
            return LazyGroup(path, help=GROUPS[path], context_settings=self.context_settings)
        if path not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[path][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` begin with; an unknown one is told with its nearest neighbours."""
        if args and args[0] not in self._find_children() and not args[0].startswith("-"):
            # Imported only for a mistake.
            import difflib  # noqa: PLC0415

            near = difflib.get_close_matches(args[0], self._find_children(), n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"`{ctx.command_path} --help` lists them"
            raise click.UsageError(f"no command '{ctx.command_path} {args[0]}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the listing without importing what it lists."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._find_children().items()))


def build_cli() -> click.Group:
    """Return the whole command line as one group."""
    return click.version_option(__version__, prog_name="p3s", message="%(prog)s %(version)s")(
        LazyGroup(
            "",
            help=(
                "Files arrive, a graph of jobs runs within seconds, results appear.\n\n"
                "\b\nExamples:\n  p3s up\n  p3s workflow load dag.yaml --watch\n  p3s why @last"
            ),
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        )
    )


def run_command(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors go to stderr as ``p3s: message``."""
    try:
        _check_words(args)
        result = build_cli().main(list(args), prog_name="p3s", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE_EXIT
    except click.ClickException as error:
        place = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "p3s"
        _complain(f"{error.format_message()}\n`{place} --help` shows how it is used")
        return USAGE_EXIT
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED_EXIT
    except P3sError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough. Python must not try to flush the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def run() -> None:
    """Run the command line of this process and exit."""
    sys.exit(run_command(sys.argv[1:]))


def _check_words(args: Sequence[str]) -> None:
    """Refuse bytes that are no text: no request, file or database could keep them as they are."""
    for word in args:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(word).decode(errors="backslashreplace")
            raise click.UsageError(f"'{shown}' is not UTF-8 text; write it as UTF-8, or rename the file") from error


def _complain(message: str) -> None:
    """Write each line of `message` to stderr, the first one signed."""
    from p3s.cli.output import tell  # noqa: PLC0415 - only for a mistake

    tell(f"p3s: {message}")


if __name__ == "__main__":
    run()
