"""What we saw of a machine, kept beside the database: it has to be charged when Lambda has forgotten it.

Only the machine that saw it has the file; another daemon goes by the audit log and by the run's row.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from ftorch.core.clock import from_micros, to_micros
from ftorch.core.files import write_text
from ftorch.core.paths import Home


@dataclass(frozen=True, slots=True)
class Record:
    """One machine. Moments are by our clock, `healthy_at` is Lambda's."""

    key: str
    instance_id: str
    machine: str = ""
    cents_per_hour: int = 0
    launched_at: datetime | None = None
    healthy_at: datetime | None = None
    seen_at: datetime | None = None
    """Last seen there and not ending."""
    began_at: datetime | None = None
    """The work on it was started."""
    cancelled_at: datetime | None = None
    ending_from: datetime | None = None
    """Its end was asked for; nobody can say that it came earlier."""
    ended_at: datetime | None = None
    """Its end was confirmed, or it was found gone."""


class Records:
    """All machines that this state folder saw. Threads may share it."""

    def __init__(self, home: Home) -> None:
        self._folder = home.root / "lambda" / "machines"
        self._known: dict[str, Record] = {}
        self._lock = threading.Lock()

    def get(self, instance_id: str) -> Record | None:
        with self._lock:
            return self._read(instance_id)

    def of_key(self, key: str) -> Sequence[Record]:
        """The machines of one run, oldest first."""
        names = [path.stem for path in self._folder.glob("*.json")] if self._folder.is_dir() else []
        found = [record for name in names if (record := self.get(name)) and record.key == key]
        return sorted(found, key=lambda record: (record.launched_at is None, record.launched_at))

    def note(self, key: str, instance_id: str, **seen: Any) -> Record:
        """Remember what is new; a moment that is known already stays, except the last look."""
        with self._lock:
            known = self._read(instance_id) or Record(key, instance_id)
            news = {
                name: value
                for name, value in seen.items()
                if value is not None and (name == "seen_at" or not getattr(known, name))
            }
            changed = replace(known, **news)
            self._known[instance_id] = changed
            if _is_worth_writing(known, changed):
                write_text(self._folder / f"{instance_id}.json", json.dumps(_plain(changed)))
            return changed

    def _read(self, instance_id: str) -> Record | None:
        if instance_id not in self._known:
            path = self._folder / f"{instance_id}.json"
            if not path.exists():
                return None
            self._known[instance_id] = _record(json.loads(path.read_text()))
        return self._known[instance_id]


def _is_worth_writing(known: Record, changed: Record) -> bool:
    """A look alone is written once a minute: what is lost with the process is no more than that."""
    if replace(known, seen_at=changed.seen_at) != changed:
        return True
    if changed.seen_at is None:
        return False
    return known.seen_at is None or changed.seen_at.replace(second=0, microsecond=0) - known.seen_at > timedelta(0)


def _plain(record: Record) -> dict[str, Any]:
    values = {one.name: getattr(record, one.name) for one in fields(record)}
    return {name: to_micros(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _record(kept: Mapping[str, Any]) -> Record:
    moments = {name: from_micros(value) for name, value in kept.items() if name.endswith(_MOMENTS) and value}
    return Record(**{**kept, **moments})


_MOMENTS = ("_at", "_from")
