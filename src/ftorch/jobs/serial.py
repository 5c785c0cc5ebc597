"""Contract values as the database keeps them, and rows as the values that providers take."""

from __future__ import annotations

import json
from dataclasses import asdict

from ftorch.core.clock import from_micros, to_micros
from ftorch.core.money import Money
from ftorch.costs.items import Quote
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import Observation, Placement, Progress, RunRef, RunState, Staged
from ftorch.store import JobRow, RunRow


def staged_text(staged: Staged, account: str, quote: Quote | None = None) -> str:
    kept: dict[str, object] = {"account": account, "staged": asdict(staged)}
    if quote is not None:
        kept["quote"] = {"micro": quote.amount.micro, "as_of": to_micros(quote.as_of), "source": quote.source}
    return json.dumps(kept)


def staged_value(text: str) -> tuple[Staged, str]:
    """What was staged, and the account that it was staged for."""
    kept = json.loads(text)
    return Staged(**kept["staged"]), kept["account"]


def quote_of(job: JobRow) -> Quote | None:
    """The provider's own price for the job, as it was when its data was staged."""
    kept = json.loads(job.staged).get("quote") if job.staged else None
    return Quote(Money.from_micro(kept["micro"]), from_micros(kept["as_of"]), kept["source"]) if kept else None


def account_of(job: JobRow) -> str | None:
    """The account that the job was staged in; None before."""
    return staged_value(job.staged)[1] if job.staged else None


def placement_text(placement: Placement) -> str:
    return json.dumps({"name": placement.name, "detail": dict(placement.detail)})


def placement_value(run: RunRow) -> Placement:
    kept = json.loads(run.placement)
    return Placement(kept["name"], run.rate, kept["detail"])


def ref(run: RunRow) -> RunRef:
    """Where the run lives; without a remote id its key finds it. A duplicate's row key is `<key>/<number>`."""
    return RunRef(run.provider, run.account, run.key.partition("/")[0], run.remote_id, run.place)


def progress_text(progress: Progress | None) -> str | None:
    return json.dumps(asdict(progress)) if progress else None


def history(run: RunRow) -> list[Observation]:
    """What the rows remember of the run's observations: the last one, with the whole billable time."""
    if run.observed_at is None or run.state is None:
        return []
    last = Observation(
        state=RunState(run.state),
        provider_status=run.provider_status,
        observed_at=run.observed_at,
        exit_code=run.exit_code,
        rate=run.rate,
        billable_from=run.billable_from,
        billable_to=run.billable_to,
        trained_tokens=run.trained_tokens,
        accrual=None if run.accrual_micro is None else Money.from_micro(run.accrual_micro),
        detail=run.detail,
        retry_event=RetryEvent(run.retry_event) if run.retry_event else None,
    )
    return [last]


def changes(seen: Observation) -> dict[str, object]:
    """The columns of a run that an observation sets. What it does not know stays as it was."""
    known: dict[str, object] = {
        "state": seen.state.value,
        "provider_status": seen.provider_status,
        "detail": seen.detail,
        "observed_at": seen.observed_at,
    }
    optional: dict[str, object | None] = {
        "exit_code": seen.exit_code,
        "rate": seen.rate,
        "billable_from": seen.billable_from,
        "billable_to": seen.billable_to,
        "trained_tokens": seen.trained_tokens,
        "accrual_micro": seen.accrual.micro if seen.accrual else None,
        "retry_event": seen.retry_event.value if seen.retry_event else None,
        "progress": progress_text(seen.progress),
    }
    return known | {name: value for name, value in optional.items() if value is not None}
