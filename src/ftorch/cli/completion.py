"""`ftorch completion`: the script that makes a shell complete our commands and job names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ftorch.core.errors import UsageError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script for SHELL; for bash: `eval "$(ftorch completion bash)"`."""
    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"there is no completion for {shell}")
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "ftorch", "_FTORCH_COMPLETE").source())
    return 0
