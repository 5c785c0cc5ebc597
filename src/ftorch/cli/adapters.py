"""`ftorch adapters` and its verbs."""

from __future__ import annotations

import click

from ftorch.cli.common import job_argument, json_option, make_client
from ftorch.cli.output import print_json, say, table


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def adapters(context: click.Context, *, as_json: bool) -> int:
    """List adapters that came home, newest first."""
    return 0 if context.invoked_subcommand else _list(as_json=as_json)


@adapters.command("list")
@json_option
def list_adapters(*, as_json: bool) -> int:
    """List adapters that came home, newest first."""
    return _list(as_json=as_json)


@adapters.command()
@job_argument
def path(job: str) -> int:
    """Print the folder of JOB's adapter."""
    with make_client() as client:
        click.echo(client.adapter(job).path)
    return 0


@adapters.command()
@click.argument("adapter", metavar="JOB|FOLDER")
@json_option
def verify(adapter: str, *, as_json: bool) -> int:
    """Check an adapter against its receipt: hashes, tensors, ranks, base model.

    Offline; exit code 10 on a difference.
    """
    with make_client() as client:
        view = client.verify(adapter)
    if as_json:
        print_json({"valid": True, "path": view.path, "receipt": view.receipt})
        return 0
    tensors = view.receipt["tensors"]
    say(f"{view.path} is whole: {len(view.receipt['files'])} files, {tensors['lora_pairs']} LoRA pairs")
    say(f"base model {view.receipt['base_model']['id']}, dataset {view.receipt['dataset']['content_hash'][:12]}")
    return 0


def _list(*, as_json: bool) -> int:
    with make_client() as client:
        views = client.adapters()
    if as_json:
        print_json(views)
    elif views:
        table(
            ("job", "name", "base model", "path"),
            [(view.job, view.name, view.receipt["base_model"]["id"], view.path) for view in views],
        )
    else:
        say("no adapter has come home yet")
    return 0
