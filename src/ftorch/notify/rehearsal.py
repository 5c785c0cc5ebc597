"""A notice that says that notices arrive."""

from __future__ import annotations

import json
from decimal import Decimal

from ftorch.core.errors import FtorchError
from ftorch.core.money import Money, exact
from ftorch.jobs.context import Context
from ftorch.manifest.notify import NoticeKind, Notify
from ftorch.notify.wire import RefusedError, send
from ftorch.store.schedule_rows import NoticeRow

_NOTHING = Money(Decimal(0))


def send_test(context: Context, channel: Notify) -> str | None:
    """Send it once, now; returns what went wrong. Nothing is kept."""
    now = context.clock.now()
    body = {
        "title": "a test of ftorch: notices arrive here",
        "text": "",
        "hint": "",
        "dollars": {"spend": {"amount": exact(_NOTHING.amount), "currency": _NOTHING.currency}},
        "about": {"installation": context.installation, "job": None},
    }
    kind = NoticeKind.TEST.value
    row = NoticeRow(id=context.ids.ulid(now), subject="test", kind=kind, job_id=None, body=json.dumps(body), at=now)
    try:
        send(channel, row, context.env, now)
    except RefusedError as refused:
        return refused.words
    except FtorchError as error:
        return error.message
    return None
