"""The whole history of a job, from its rows to the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest
from syrupy.assertion import SnapshotAssertion

from ftorch.cli.history import show_history
from ftorch.cli.output import to_json
from ftorch.cli.shapes import output_schema
from ftorch.jobs.history import JobHistory, job_history
from ftorch.store import EvaluationRow, EventRow, RunRow, SqliteStore, Transaction
from unit.jobs.rows import NOW, charge, job, run

SECOND = "ft-abc123-01m853egkdvypddzfanrkc5c06"
_OF_THE_ENGINE = {
    *("job_id", "version", "next_at", "send_before", "sent_reading", "hold_micro", "accrual_micro", "progress"),
}
"""Columns that are shown in another form, or only steer the engine."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "ftorch.db")
    opened.write(_fill)
    yield opened
    opened.close()


def _fill(tx: Transaction) -> None:
    minute = timedelta(minutes=1)
    tx.insert_job(job(state="succeeded", reason="completed", ended_at=NOW + 9 * minute, labels='{"team": "a"}'), "{}")
    lost = run(
        state="stopped",
        provider_status="user_error:\npreempted",
        sends=2,
        sent_at=NOW,
        ended_at=NOW + minute,
        remote_id="remote-1",
        retry_event="preempted",
    )
    tx.insert_run(lost)
    tx.insert_run(run(key=SECOND, number=2, state="succeeded", resume_from=lost.key, settled_at=NOW + 9 * minute))
    tx.add_entry(charge())
    tx.add_entry(charge(run_key=SECOND, source_ref="remote-2/time", kind="billed", source="billing", unit_price=None))
    tx.add_entry(charge(run_key=None, source_ref="call-1", description="answers of hosted-large"))
    tx.add_event(EventRow(seq=0, job_id="job-1", run_key=None, at=NOW, event="job staging", detail=""))
    tx.add_event(
        EventRow(seq=0, job_id="job-1", run_key=SECOND, at=NOW + minute, event="sent", detail="one\nhint: two")
    )
    report = {"primary": "exact_match", "rows": 36, "models": [{"name": "tuned"}, {"name": "base"}]}
    tx.add_evaluation(
        EvaluationRow(
            id="e1", job_id="job-1", dataset="d", verdict="pass", report=json.dumps(report), created_at=NOW + minute
        )
    )


def history(store: SqliteStore) -> JobHistory:
    row = store.job("job-1")
    assert row is not None
    return job_history(store, row)


def test_every_run_has_its_own_charges_and_the_job_those_of_no_run(store: SqliteStore) -> None:
    seen = history(store)

    first, second = seen.runs
    assert [charge.amount.source for charge in first.charges] == ["measured_time"]
    assert [(charge.amount.source, charge.amount.status) for charge in second.charges] == [("billing", "billed")]
    assert [charge.description for charge in seen.other_charges] == ["answers of hosted-large"]


def test_all_charges_together_are_the_spend(store: SqliteStore) -> None:
    seen = history(store)

    charges = [*seen.other_charges, *(charge for run in seen.runs for charge in run.charges)]
    assert sum(charge.amount.amount or Decimal(0) for charge in charges) == seen.spend.amount


def test_nothing_that_the_database_knows_about_a_run_is_left_out(store: SqliteStore) -> None:
    shown = {field.name for field in fields(history(store).runs[0])}

    assert {field.name for field in fields(RunRow)} - shown == _OF_THE_ENGINE


def test_an_evaluation_says_what_was_compared_and_its_verdict(store: SqliteStore) -> None:
    [one] = history(store).evaluations

    assert (one.verdict, one.metric, one.rows, one.against) == ("pass", "exact_match", 36, ["base"])


def test_its_json_fits_its_schema_and_stays_as_it_is(store: SqliteStore, snapshot: SnapshotAssertion) -> None:
    answer = to_json(history(store))

    jsonschema.validate(answer, output_schema("history"))
    assert json.dumps(answer, indent=2) == snapshot


def test_a_job_without_runs_can_be_shown(store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.write(lambda tx: tx.insert_job(job(id="job-2"), "{}"))
    row = store.job("job-2")
    assert row is not None

    show_history(job_history(store, row))

    assert "planned" in capsys.readouterr().out


def test_the_page_for_people(
    store: SqliteStore, capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion
) -> None:
    show_history(history(store))

    assert capsys.readouterr().out == snapshot
