"""The hosted model's answers to held-out rows, through an OpenAI-compatible endpoint and from the job's budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from ftorch.core.errors import CredentialsError, UsageError
from ftorch.core.files import write_text
from ftorch.core.money import Money
from ftorch.costs import ledger
from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window
from ftorch.evals.rows import HeldOutRow
from ftorch.jobs.answers import left_of_budget
from ftorch.jobs.context import Context
from ftorch.jobs.endpoint import Endpoint, Paid, Question, ask_all, paid
from ftorch.manifest.evaluation import Hosted
from ftorch.manifest.lifetime import PerCall, PerToken
from ftorch.manifest.plan import Plan
from ftorch.store import JobRow, Transaction

Progress = Callable[[str, int, int], None]


def ask_hosted(
    context: Context, job: JobRow, plan: Plan, hosted: Hosted | None, rows: Sequence[HeldOutRow], progress: Progress
) -> tuple[str, Path]:
    """Put every held-out prompt to the endpoint once; returns what it is called, and the file of its answers.

    Raises UsageError where nothing says whom to ask, CredentialsError without its key, BudgetError, ProviderError.
    """
    if hosted is None:
        raise UsageError(
            "nothing says where the hosted model answers",
            hint="give --against URL --model NAME, or eval.hosted in the manifest, or its answers with --scores FILE",
        )
    if plan.method.type == "dpo":
        raise UsageError(
            "preference_accuracy needs the model's probabilities, which no chat endpoint tells",
            hint="compare with base or another adapter",
        )
    endpoint = Endpoint(
        url=hosted.url.rstrip("/"),
        model=hosted.model,
        api_key=_key(context, hosted),
        price=_price(plan),
        max_tokens=hosted.max_tokens,
        concurrency=hosted.concurrency,
        key_variable=hosted.api_key and hosted.api_key.removeprefix("env:"),
    )
    questions = [Question(number, row.sha256, row.prompt, row.reference or "") for number, row in enumerate(rows)]
    folder = context.home.evaluations / "endpoints"
    try:
        lines = ask_all(
            endpoint,
            questions,
            cache=folder,
            limit=left_of_budget(context, job, plan),
            clock=context.clock,
            progress=lambda done, total: progress(f"asking {hosted.model}", done, total),
        )
    finally:
        _book(context, job, endpoint, paid(endpoint, questions, cache=folder))
    path = folder / f"{job.id}.jsonl"
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    return f"{hosted.model} at {urlsplit(hosted.url).netloc}", path


def _book(context: Context, job: JobRow, endpoint: Endpoint, calls: Sequence[Paid]) -> None:
    """Post what the ledger does not have yet as one entry: measured usage at the price that the manifest declares."""
    answered = {call.call: call for call in calls if call.answered_at and call.cost is not None}
    now = context.clock.now()

    def post(tx: Transaction) -> None:
        fresh = [call for call in answered.values() if tx.book_call(call.call, now)]
        moments = [call.answered_at for call in fresh if call.answered_at]
        if not moments:
            return
        item = LineItem(
            source=SpendSource.DECLARED,
            source_ref=f"calls/{fresh[0].call}",
            kind=EntryKind.PROVISIONAL,
            amount=Money(sum((call.cost.amount for call in fresh if call.cost), Decimal(0))),
            quantity=Decimal(len(fresh)),
            unit="call",
            unit_price=None,
            period=Window(min(moments), max(moments)),
            as_of=max(moments),
            description=f"{len(fresh)} held-out rows answered by {endpoint.model} at its declared price",
        )
        ledger.post(tx, item, provider="endpoint", account=urlsplit(endpoint.url).netloc, job_id=job.id, now=now)

    context.store.write(post)


def _key(context: Context, hosted: Hosted) -> str | None:
    if hosted.api_key is None:
        return None
    name = hosted.api_key.removeprefix("env:")
    if name not in context.env:
        raise CredentialsError(
            f"{name} is not set: it holds the key of {urlsplit(hosted.url).netloc}",
            hint="set it in the environment or in ./.env, then run the same command again",
        )
    return context.env[name]


def _price(plan: Plan) -> PerCall | PerToken | None:
    """What a call costs, where the manifest's lifetime says it."""
    price = plan.lifetime.hosted if plan.lifetime else None
    return price if isinstance(price, PerCall | PerToken) else None
