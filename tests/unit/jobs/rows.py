"""Rows for tests of the job layer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ftorch.store import JobRow, LedgerRow, RunRow

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def job(**changes: Any) -> JobRow:
    plain = JobRow(
        id="job-1",
        name="support",
        plan_hash="hash",
        manifest_path="m.yaml",
        dataset="d",
        base_model="builtin:tiny",
        method="sft",
        provider="local",
        state="planned",
        desired="run",
        limit_micro=None,
        labels="{}",
        host="here",
        created_at=NOW,
        next_at=NOW,
    )
    return replace(plain, **changes)


def run(**changes: Any) -> RunRow:
    plain = RunRow(
        key="ft-abc123-01m853egkdvypddzfanrkc5c05",
        job_id="job-1",
        number=1,
        purpose="train",
        provider="local",
        account="here",
        placement='{"name": "here", "detail": {}}',
        rate=None,
        max_duration_s=None,
        resume_from=None,
        hold_micro=0,
        created_at=NOW,
        next_at=NOW,
    )
    return replace(plain, **changes)


def ended(state: str, **changes: Any) -> RunRow:
    """A run that is over, released and charged."""
    values: dict[str, Any] = {"sent_at": NOW, "ended_at": NOW, "released_at": NOW, "charged_at": NOW, "settled_at": NOW}
    return run(**{**values, "state": state, **changes})


def charge(**changes: Any) -> LedgerRow:
    """An entry of the ledger for the run above."""
    plain = LedgerRow(
        provider="local",
        account="here",
        source="measured_time",
        source_ref="remote-1/time",
        revision=1,
        run_key="ft-abc123-01m853egkdvypddzfanrkc5c05",
        job_id="job-1",
        kind="provisional",
        amount_micro=60_000,
        quantity=Decimal(60),
        unit="s",
        unit_price=Decimal("0.001"),
        description="60 s at 3.60 USD per hour",
        period_start=NOW,
        period_end=NOW,
        as_of=NOW,
        recorded_at=NOW,
        counted_at=NOW,
    )
    return replace(plain, **changes)
