"""`ftorch providers` and `ftorch doctor`."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import sys

import click

import ftorch
from ftorch.cli.common import json_option, make_client
from ftorch.cli.output import print_json, say, table
from ftorch.cli.shapes import ProviderAnswer
from ftorch.client import Client
from ftorch.core.clock import SystemClock
from ftorch.core.errors import FtorchError

_GIB = 1 << 30


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def providers(context: click.Context, *, as_json: bool) -> int:
    """List providers and what is set of their credentials. Sends nothing."""
    return 0 if context.invoked_subcommand else _list(as_json=as_json)


@providers.command()
@click.argument("names", metavar="[PROVIDER]...", nargs=-1)
@click.option("--refresh", is_flag=True, help="First ask the providers that have a catalogue. Reads only.")
@json_option
def prices(names: tuple[str, ...], *, refresh: bool, as_json: bool) -> int:
    """List what machines cost, with source and date: what `plan --compare` goes by. Stale prices are marked."""
    with make_client() as client:
        for name, words in (client.refresh_prices(names) if refresh else {}).items():
            say(f"{name}: {words}")
        found = [price for price in client.prices() if not names or price.provider in names]
    if as_json:
        print_json(found)
        return 0
    today = SystemClock().now().date()
    rows = [(one.provider, one.name, one.gpu or "-", one.count, one.words(today)) for one in found]
    table(("provider", "machine", "GPU", "count", "price"), rows, right=(3,))
    return 0


def _list(*, as_json: bool) -> int:
    with make_client() as client:
        answers = [_answer(client, name) for name in client.provider_names()]
    if as_json:
        print_json(answers)
        return 0
    table(
        ("provider", "state", "set", "spend from", "live check"),
        [
            (answer.name, answer.state, _set(answer), answer.spend_source or "-", answer.live_check or "-")
            for answer in answers
        ],
    )
    for answer in answers:
        if answer.install:
            say(f"{answer.name}: {answer.install}")
    return 0


@click.command()
@json_option
def doctor(*, as_json: bool) -> int:
    """Check this installation, and every provider whose credentials are set. Nothing is sent to the others."""
    with make_client() as client:
        checks = [*_machine(client), *[_provider(client, name) for name in client.provider_names()]]
    if as_json:
        print_json([{"check": check, "ok": is_ok, "detail": detail} for check, is_ok, detail in checks])
    else:
        for check, is_ok, detail in checks:
            click.echo(f"{'ok  ' if is_ok else 'FAIL'}  {check}: {detail}")
    return 0 if all(is_ok for _, is_ok, _ in checks) else 6


def _machine(client: Client) -> list[tuple[str, bool, str]]:
    checks = [
        ("ftorch", True, ftorch.__version__),
        ("python", sys.version_info >= (3, 11), platform.python_version()),
        ("sqlite", sqlite3.sqlite_version_info >= (3, 35), sqlite3.sqlite_version),
    ]
    try:
        client.home.ensure()
        free = shutil.disk_usage(client.home.root).free
        checks.append(("state folder", True, f"{client.home.root}, {free // _GIB} GiB free"))
        checks.append(("database", True, client.check_database()))
    except FtorchError as error:
        checks.append(("state folder", False, error.message))
    return checks + [("credentials", False, warning) for warning in client.credential_warnings()]


def _provider(client: Client, name: str) -> tuple[str, bool, str]:
    answer = _answer(client, name)
    if answer.state != "ready":
        return name, True, f"{answer.state}{': ' + answer.install if answer.install else ''}"
    try:
        return name, True, client.check_provider(name)
    except FtorchError as error:
        return name, False, f"{error.message}{'; ' + error.hint if error.hint else ''}"


def _answer(client: Client, name: str) -> ProviderAnswer:
    status = client.provider_status(name)
    return ProviderAnswer(
        name=name,
        state=status.state,
        variables=status.variables,
        install=status.install,
        spend_source=status.spend_source,
        live_check=status.live_check,
    )


def _set(answer: ProviderAnswer) -> str:
    found = [f"{name} ({place})" for name, place in answer.variables.items() if place]
    return ", ".join(found) or ("needs none" if not answer.variables else "-")
