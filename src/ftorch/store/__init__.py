"""The database: jobs, runs, events, ledger. SQL by hand, group commit, compare-and-set."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ftorch.core.errors import MissingExtraError, StoreError
from ftorch.store.base import Store
from ftorch.store.place import is_postgres_url
from ftorch.store.rows import (
    AssignmentRow,
    BillRow,
    CloseRow,
    EstimateRow,
    EvaluationRow,
    EventRow,
    InvoiceRow,
    JobRow,
    LedgerRow,
    OutcomeRow,
    RunRow,
)
from ftorch.store.sqlite import SqliteStore
from ftorch.store.transaction import IntegrityError, Transaction

__all__ = [
    "AssignmentRow",
    "BillRow",
    "CloseRow",
    "EstimateRow",
    "EvaluationRow",
    "EventRow",
    "IntegrityError",
    "InvoiceRow",
    "JobRow",
    "LedgerRow",
    "OutcomeRow",
    "RunRow",
    "SqliteStore",
    "Store",
    "Transaction",
    "open_store",
    "require_postgres",
]


def open_store(place: Path | str) -> Store:
    """Open the database at a path (SQLite) or a `postgresql://` URL; make or upgrade it when needed.

    Raises StoreError when it cannot be used, MissingExtraError when PostgreSQL's client is not installed.
    """
    if isinstance(place, Path):
        return SqliteStore.open(place)
    if not is_postgres_url(place):
        scheme = place.rpartition("://")[0]  # and no more of it: the rest may hold a password
        raise StoreError(
            f"{scheme!r} is not a database that ftorch knows", hint="write postgresql://USER@HOST/DATABASE"
        )
    require_postgres()
    from ftorch.store.postgres import PostgresStore  # noqa: PLC0415  psycopg is an extra, and slow to import

    return PostgresStore.open(place)


def require_postgres() -> None:
    """Raises MissingExtraError when PostgreSQL's client is not installed."""
    try:
        import_module("ftorch.store.postgres")
    except ImportError as error:
        raise MissingExtraError("a database on PostgreSQL", extra="postgres") from error
