"""The marker lines that the runner writes into a job's log: all that tells of a run whose folder nobody can read.

Ray may put words in front of a line, and show it twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ftorch.core.clock import parse_rfc3339
from ftorch.providers.ray_jobs.inside.settings import MARKER

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Marked:
    """When a run began, and when and how it ended: None for what it did not get to say."""

    started_at: datetime
    ended_at: datetime | None = None
    exit_code: int | None = None

    @property
    def is_cut(self) -> bool:
        """It has not said its end: of one that is over, somebody has killed it."""
        return self.ended_at is None


def marked(text: str, key: str) -> Marked | None:
    """What a log says of the run; None where it has no marker of its beginning."""
    found = {str(marker["kind"]): marker for line in text.splitlines() if (marker := _marker(line, key))}
    if "started" not in found:
        return None
    started_at, ended = parse_rfc3339(found["started"]["t"]), found.get("ended")
    if ended is None:
        return Marked(started_at)
    return Marked(started_at, parse_rfc3339(ended["t"]), ended.get("exit_code"))


def _marker(line: str, key: str) -> Mapping[str, Any] | None:
    """None for a line that is none, cannot be read, or is another run's."""
    try:
        value: Mapping[str, Any] = json.JSONDecoder().raw_decode(line.partition(f"{MARKER} ")[2])[0]
        parse_rfc3339(value["t"])
        return value if (value["v"], value["key"]) == (_VERSION, key) and value["kind"] else None
    except (ValueError, KeyError, TypeError):
        return None
