"""The marker lines that the runner writes into a job's log. Ray may put words in front, and show a line twice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ftorch.core.clock import parse_rfc3339
from ftorch.providers.ray_jobs.inside.settings import MARKER

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Marker:
    """The runner has begun or ended: when, and where the run's folder lies."""

    kind: str
    at: datetime
    folder: str
    uri: str | None
    exit_code: int | None = None
    sha256: str | None = None
    """Of `result.json`, which names the adapter's files with their hashes."""


def markers(lines: Iterable[str], key: str) -> list[Marker]:
    """The markers of a run, each once, in order. What cannot be read, or is another run's, is none."""
    found = (_marker(line.partition(f"{MARKER} ")[2], key) for line in lines if f"{MARKER} " in line)
    return list(dict.fromkeys(marker for marker in found if marker))


def _marker(text: str, key: str) -> Marker | None:
    try:
        value: Any = json.JSONDecoder().raw_decode(text)[0]
        if value["v"] != _VERSION or value["key"] != key:
            return None
        return Marker(
            kind=str(value["kind"]),
            at=parse_rfc3339(value["t"]),
            folder=str(value["folder"]),
            uri=value["uri"],
            exit_code=value.get("exit_code"),
            sha256=value.get("sha256"),
        )
    except (ValueError, KeyError, TypeError):
        return None
