"""`ftorch jobs show` for people: the whole history of a job, from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import click

from ftorch.cli.common import money
from ftorch.cli.output import duration, state_words, table
from ftorch.core.money import exact
from ftorch.jobs.history import Charge, EvaluationView, JobHistory, RunHistory
from ftorch.jobs.views import EventView

_MOMENT = "%Y-%m-%d %H:%M:%S"
_MOMENTS = (
    ("created", "created_at"),
    ("sent", "sent_at"),
    ("started", "started_at"),
    ("paid from", "billable_from"),
    ("seen last", "observed_at"),
    ("asked to stop", "cancel_requested_at"),
    ("paid until", "billable_to"),
    ("ended", "ended_at"),
    ("fetched", "fetched_at"),
    ("released", "released_at"),
    ("charged", "charged_at"),
    ("settled", "settled_at"),
)


def show_history(job: JobHistory) -> None:
    """Print it all on stdout; moments are UTC."""
    table(("job", job.id), list(_about(job)))
    for run in job.runs:
        click.echo()
        table((f"run {run.number}", run.key), list(_about_run(run)))
    _charges([(f"run {run.number}", charge) for run in job.runs for charge in run.charges], job.other_charges)
    _evaluations(job.evaluations)
    _events(job.events, {run.key: f"run {run.number}" for run in job.runs})


def _about(job: JobHistory) -> Iterator[tuple[str, object]]:
    lines: Sequence[tuple[str, object]] = (
        ("name", job.name),
        ("state", state_words(job.state, job.reason)),
        ("detail", _one_line(job.detail)),
        ("wanted", "" if job.desired == "run" else job.desired),
        ("provider", job.provider),
        ("base model", job.base_model),
        ("method", job.method),
        ("labels", ", ".join(f"{key}={value}" for key, value in sorted(job.labels.items()))),
        ("manifest", f"{job.manifest} on {job.host}"),
        ("plan", job.plan_hash),
        ("created", _at(job.created_at)),
        ("next try", f"{_at(job.next_at)}, after {job.failures} failures" if job.failures and job.next_at else ""),
        ("ended", _at(job.ended_at)),
        ("adapter", job.adapter or "-"),
        ("verdict", job.verdict or ""),
        ("spend", money(job.spend)),
    )
    return ((words, value) for words, value in lines if value)


def _about_run(run: RunHistory) -> Iterator[tuple[str, object]]:
    """What is not known yet, or does not apply, has no line."""
    lines: Sequence[tuple[str, object]] = (
        ("state", run.state or "not sent"),
        ("provider says", _one_line(run.provider_status)),
        ("detail", _one_line(run.detail)),
        ("provider", f"{run.provider}, account {run.account}, placement {run.placement}"),
        ("remote id", run.remote_id),
        ("place", run.place),
        ("sends", run.sends),
        ("steps", f"{run.step}/{run.total_steps}" if run.total_steps else None),
        ("goes on from", run.resume_from),
        ("exit code", run.exit_code),
        ("failures", f"{run.failures} in a row" if run.failures else None),
        *((words, _at(getattr(run, name), "")) for words, name in _MOMENTS),
        ("longest", None if run.max_duration_s is None else f"{duration(run.max_duration_s)}, by {run.bounded_by}"),
        ("stopped", (run.stop_reason or "").replace("_", " ")),
        ("paid time", None if run.paid_seconds is None else duration(int(run.paid_seconds))),
        ("tokens", run.trained_tokens),
        ("hold", run.hold),
        ("accrual", money(run.accrual) if run.accrual else None),
        ("spend", money(run.spend)),
    )
    return ((words, value) for words, value in lines if value not in (None, ""))


def _charges(of_runs: Sequence[tuple[str, Charge]], others: Sequence[Charge]) -> None:
    rows = sorted([*of_runs, *(("-", charge) for charge in others)], key=lambda row: row[1].recorded_at)
    if not rows:
        return
    click.echo()
    table(
        ("charged", "run", "amount", "quantity", "unit price", "reference", "what"),
        [
            (
                _at(charge.recorded_at),
                run,
                money(charge.amount),
                f"{charge.quantity:f} {charge.unit}",
                "-" if charge.unit_price is None else exact(charge.unit_price),
                f"{charge.source_ref} #{charge.revision}",
                _one_line(charge.description),
            )
            for run, charge in rows
        ],
    )


def _evaluations(evaluations: Sequence[EvaluationView]) -> None:
    if not evaluations:
        return
    click.echo()
    table(
        ("evaluated", "verdict", "metric", "rows", "against"),
        [
            (_at(one.at), one.verdict or "no gate", one.metric or "-", one.rows or "-", ", ".join(one.against) or "-")
            for one in evaluations
        ],
    )


def _events(events: Sequence[EventView], runs: dict[str, str]) -> None:
    click.echo()
    table(
        ("at", "of", "event"),
        [
            (
                _at(event.at),
                runs.get(event.run, event.run) if event.run else "job",
                f"{event.event}: {_one_line(event.detail)}" if event.detail else event.event,
            )
            for event in events
        ],
    )


def _at(moment: datetime | None, never: str = "-") -> str:
    return never if moment is None else f"{moment:{_MOMENT}}"


def _one_line(words: str) -> str:
    return "; ".join(line.strip() for line in words.splitlines() if line.strip())
