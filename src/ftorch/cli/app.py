"""The click group that loads a command when it is called, and the edge where errors become words and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

import click

from ftorch.core.errors import FtorchError

_INTERRUPTED = 130


class LazyGroup(click.Group):
    """Knows its commands by name and first line; imports a command's module when it is called."""

    def __init__(self, table: Mapping[str, tuple[str, str]], **attributes: object) -> None:
        super().__init__(name="ftorch", help="Fine-tune on any managed compute, and know what it cost.", **attributes)  # type: ignore[arg-type]  # click's keyword arguments are not typed one by one
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, _, attribute = self._table[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"ftorch.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self._table and not args[0].startswith("-"):
            from ftorch.core.suggest import did_you_mean

            raise click.UsageError(f"no command is called {args[0]!r}{did_you_mean(args[0], self._table)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in self._table.items()])


def run(table: Mapping[str, tuple[str, str]], args: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code of DESIGN's table."""
    group = LazyGroup(table, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
    click.version_option(message="ftorch %(version)s", package_name="ftorch")(group)
    try:
        result = group.main(args=args, prog_name="ftorch", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough (`ftorch jobs | head`): nothing is wrong.
        sys.stderr.close()
        return 0
    except FtorchError as error:
        from ftorch.cli.output import show_error

        show_error(error)
        return error.exit_code
    return result if isinstance(result, int) else 0
