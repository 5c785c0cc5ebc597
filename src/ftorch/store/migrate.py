"""Numbered migrations, applied forward under an exclusive lock, with a backup first. A newer database is refused."""

from __future__ import annotations

import os
import sqlite3
from importlib.resources import files
from pathlib import Path

from ftorch.core.errors import StoreError


def migrations() -> list[tuple[int, str]]:
    """(number, SQL text) of every migration in the package, in order."""
    folder = files("ftorch.store") / "migrations"
    found = [(int(entry.name[:4]), entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted(found)


def newest() -> int:
    return migrations()[-1][0]


def schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_version(found: int, path: Path) -> bool:
    """True when the schema found is this version's; False when it is older. Raises StoreError when newer."""
    ours = newest()
    if found > ours:
        raise StoreError(
            f"the database {path} was written by a newer ftorch (schema {found}, this version knows {ours})",
            hint="upgrade ftorch, or set FTORCH_HOME to another folder",
        )
    return found == ours


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date. Two processes at once: the second finds it done."""
    # Read once: when another process makes the schema meanwhile, there is nothing of ours to back up.
    found = schema_version(connection)
    if check_version(found, path):
        return
    if found > 0:
        _backup(connection, path)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        start = schema_version(connection)
        for number, text in migrations():
            if number > start:
                _apply(connection, number, text)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _apply(connection: sqlite3.Connection, number: int, text: str) -> None:
    for statement in text.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {number}")


def _backup(connection: sqlite3.Connection, path: Path) -> None:
    copy = path.with_name(f"{path.stem}.before-{newest():04d}.db")
    if copy.exists():
        return
    # VACUUM INTO refuses a file that is there, and two processes may upgrade at once.
    aside = copy.with_name(f".{copy.name}.{os.getpid()}")
    connection.execute("VACUUM INTO ?", (str(aside),))
    aside.replace(copy)
