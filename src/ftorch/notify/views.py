"""Notices as people and programs see them, with what became of each delivery."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ftorch.store import Store, schedule_sql
from ftorch.store.schedule_rows import DeliveryRow, NoticeRow

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One way in which a notice was told."""

    channel: str
    attempts: int
    error: str
    sent_at: datetime | None
    next_at: datetime | None
    """When it is tried again; None when it was taken or given up."""


@dataclass(frozen=True, slots=True)
class NoticeView:
    """Something that people were told."""

    id: str
    kind: str
    at: datetime
    job: str | None
    title: str
    text: str
    hint: str
    dollars: Mapping[str, Any]
    deliveries: Sequence[DeliveryView]


def notice_views(store: Store) -> list[NoticeView]:
    """The newest first."""
    reader = store.read()
    return [
        _view(row, reader.many(DeliveryRow, schedule_sql.DELIVERIES_OF, notice_id=row.id))
        for row in reader.many(NoticeRow, schedule_sql.NOTICES, most=_SHOWN)
    ]


def _view(row: NoticeRow, deliveries: Sequence[DeliveryRow]) -> NoticeView:
    body = json.loads(row.body)
    return NoticeView(
        id=row.id,
        kind=row.kind,
        at=row.at,
        job=row.job_id,
        title=body["title"],
        text=body["text"],
        hint=body["hint"],
        dollars=body["dollars"],
        deliveries=[
            DeliveryView(one.channel, one.attempts, one.error, one.sent_at, None if one.ended_at else one.next_at)
            for one in deliveries
        ],
    )
