"""What people are told: a row for each subject, written with the change that it is about. `ftorch.notify` sends it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ftorch.core.money import Money, exact
from ftorch.jobs.context import Context
from ftorch.manifest.notify import NoticeKind
from ftorch.store import Transaction, schedule_sql
from ftorch.store.schedule_rows import NoticeRow


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell. `subject` is told once; an amount that nobody knows is None, never 0."""

    kind: NoticeKind
    subject: str
    title: str
    text: str = ""
    hint: str = ""
    job_id: str | None = None
    dollars: Mapping[str, Money | None] = field(default_factory=dict)
    about: Mapping[str, str | None] = field(default_factory=dict)


def tell(context: Context, tx: Transaction, notice: Notice) -> bool:
    """Keep a notice with the change it is about, without secrets in its words: it leaves this machine, and words of
    providers and of trainers are in it. False: the subject was told of already, and is not told again.
    """
    now = context.clock.now()
    clean = context.redactor.text
    body = {
        "title": clean(notice.title),
        "text": clean(notice.text),
        "hint": clean(notice.hint),
        "dollars": {name: _money(amount) for name, amount in notice.dollars.items()},
        "about": {"installation": context.installation, "job": notice.job_id, **notice.about},
    }
    row = NoticeRow(
        id=context.ids.ulid(now),
        subject=notice.subject,
        kind=notice.kind.value,
        job_id=notice.job_id,
        body=json.dumps(body),
        at=now,
    )
    return tx.insert(schedule_sql.ADD_NOTICE, row) == 1


def _money(amount: Money | None) -> dict[str, str] | None:
    return None if amount is None else {"amount": exact(amount.amount), "currency": amount.currency}


__all__ = ["Notice", "NoticeKind", "tell"]
