"""`ftorch adapters` and its verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ftorch.cli.common import complete_job, json_option, make_client
from ftorch.cli.output import print_json, say, table

if TYPE_CHECKING:
    from ftorch.jobs.adapter_views import AdapterView


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
@click.argument("adapter", metavar="JOB|NAME/N|NAME@latest", shell_complete=complete_job)
def path(adapter: str) -> int:
    """Print the folder of a job's adapter, of a version, or of the one in service."""
    with make_client() as client:
        click.echo(client.adapter(adapter).path)
    return 0


@adapters.command()
@click.argument("adapter", metavar="NAME/N|JOB")
@click.option("--note", default="", help="Why; kept in the history.")
def promote(adapter: str, *, note: str) -> int:
    """Put a version into service: NAME@latest means it from now on.

    Its files are checked first. A person's word stands over the gate's.
    """
    with make_client() as client:
        view = client.promote(adapter, note=note)
    say(f"{view.version} is in service")
    click.echo(view.path)
    return 0


@adapters.command()
@click.argument("name", metavar="NAME")
@click.option("--to", type=int, metavar="N", help="This version; the one that was in service before when not given.")
@click.option("--note", default="", help="Why; kept in the history.")
def rollback(name: str, *, to: int | None, note: str) -> int:
    """Go back to the version of NAME that was in service before, byte for byte."""
    with make_client() as client:
        view = client.rollback(name, to=to, note=note)
    say(f"{view.version} is in service again")
    click.echo(view.path)
    return 0


@adapters.command()
@click.argument("name", metavar="NAME")
@json_option
def history(name: str, *, as_json: bool) -> int:
    """Print which versions of NAME were in service since when, and why."""
    with make_client() as client:
        views = client.promotions(name)
    if as_json:
        print_json(views)
    elif views:
        table(
            ("since, UTC", "version", "instead of", "by", "why"),
            [(f"{one.at:%Y-%m-%d %H:%M}", one.version, one.previous or "-", one.how, one.note) for one in views],
        )
    else:
        say(f"no version of {name} was ever promoted")
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
            ("version", "state", "job", "base model", "path"),
            [(_version(view), view.state or "-", view.job, *_base_and_path(view)) for view in views],
        )
    else:
        say("no adapter has come home yet")
    return 0


def _base_and_path(view: AdapterView) -> tuple[str, str]:
    if not view.is_here:
        return "-", f"{view.path} (not here)"
    return view.receipt["base_model"]["id"], str(view.path)


def _version(view: AdapterView) -> str:
    return f"{view.version or view.name}{' (in service)' if view.in_service else ''}"
