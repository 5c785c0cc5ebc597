"""`ftorch db`: check, backup, move."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftorch.cli.common import json_option, make_client
from ftorch.cli.output import print_json, say, table
from ftorch.core.errors import StoreError, UsageError
from ftorch.core.money import Money
from ftorch.manifest.places import store_url
from ftorch.store import SqliteStore, Store, open_store, require_postgres

if TYPE_CHECKING:
    from ftorch.store.check import DatabaseReport
    from ftorch.store.move import Moved


@click.group()
def db() -> None:
    """The database: check it, back it up, move it to a server."""


@db.command()
@click.argument("url", required=False)
@json_option
def check(url: str | None, *, as_json: bool) -> int:
    """Look the database over, or the one at URL; exit code 2 when it is damaged.

    env:NAME instead of a URL names the variable that holds it.
    """
    from ftorch.store.check import check as look_over

    with _opened(url) as store:
        report = look_over(store)
    print_json(report) if as_json else _show(report)
    if report.findings:
        raise StoreError(f"the database {report.database} is damaged", hint="restore a backup")
    return 0


@db.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--url", help="The database at a URL, or env:NAME of the variable that holds it.")
def backup(file: Path, *, url: str | None) -> int:
    """Copy the database into FILE, which must not be there. Nothing needs to stop meanwhile."""
    from ftorch.store.check import back_up

    if url is not None or store_url(Path.cwd(), os.environ):
        raise UsageError("a database on a server is backed up by its own tools", hint=f"run `pg_dump -Fc -f {file}`")
    with _opened(None) as store:
        assert isinstance(store, SqliteStore)
        back_up(store, file)
    say(f"the database is copied to {file}")
    return 0


@db.command()
@click.argument("url")
@json_option
def move(url: str, *, as_json: bool) -> int:
    """Move everything to the empty PostgreSQL database at URL, and seal this one.

    env:NAME instead of a URL names the variable that holds it. After a kill, run it again.
    """
    require_postgres()
    from ftorch.jobs.leader import leadership
    from ftorch.store.move import move as move_to

    with make_client() as client:
        home = client.home
    if not home.database.exists():
        raise UsageError(f"nothing was ever submitted in {home.root}", hint="there is nothing to move")
    with leadership(home) as is_ours:
        if not is_ours:
            raise StoreError("a daemon is at work with this database", hint="run `ftorch daemon stop`, then move")
        moved = move_to(home.database, _resolved(url))
    print_json(moved) if as_json else _tell(moved)
    return 0


def _resolved(url: str) -> str:
    """A URL on the command line is seen by everybody on the host: `env:NAME` names the variable that holds it."""
    if not url.startswith("env:"):
        return url
    name = url.removeprefix("env:")
    if not os.environ.get(name):
        raise UsageError(f"{name} is not set", hint=f"set {name} to the URL of the database")
    return os.environ[name]


def _opened(url: str | None) -> AbstractContextManager[Store]:
    if url is not None:
        return closing(open_store(_resolved(url)))
    if configured := store_url(Path.cwd(), os.environ):
        return closing(open_store(configured))
    with make_client() as client:
        home = client.home
    if not home.database.exists():
        raise UsageError(f"nothing was ever submitted in {home.root}", hint="run `ftorch submit MANIFEST`")
    return closing(open_store(home.database))


def _show(report: DatabaseReport) -> None:
    table(
        ("what", "value"),
        [
            ("database", report.database),
            ("schema", report.schema_version),
            ("installation", report.installation or "-"),
            *((f"rows of {name}", count) for name, count in report.rows.items()),
            ("sum of the ledger", Money.from_micro(report.ledger_micro)),
        ],
    )
    for finding in report.findings:
        say(finding)


def _tell(moved: Moved) -> None:
    if moved.tables:
        table(
            ("table", "rows", "sum", "sha256"),
            [
                (
                    proof.table,
                    proof.rows,
                    Money.from_micro(proof.total_micro) if proof.total_micro is not None else "-",
                    proof.sha256[:16],
                )
                for proof in moved.tables
            ],
            right=(1, 2),
        )
    say(f"installation {moved.installation} was moved to {moved.target}; {moved.source} is sealed")
    say("hint: set url under [store] in ftorch.toml to the new database")
