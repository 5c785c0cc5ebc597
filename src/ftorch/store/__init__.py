"""The database: jobs, runs, events, ledger. SQL by hand, group commit, compare-and-set."""

from __future__ import annotations

from ftorch.store.rows import EvaluationRow, EventRow, JobRow, LedgerRow, RunRow
from ftorch.store.sqlite import SqliteStore, Transaction

__all__ = ["EvaluationRow", "EventRow", "JobRow", "LedgerRow", "RunRow", "SqliteStore", "Transaction"]
