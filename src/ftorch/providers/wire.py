"""What an HTTP answer says, whoever asked: was anything sent, what was refused in which words, and how long to wait."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""What proves that no byte of a request has left; every other failure may have come after the provider read it."""


_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)$")


def refusal(body: str) -> tuple[str, str]:
    """Code and words from the shapes that error bodies usually have; the body itself where it has another."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "", body
    match value:
        case {"error": {"message": str(words), **rest}} | {"error": {"detail": str(words), **rest}}:
            return str(rest.get("code", "")), words
        case {"error": str(words)} | {"message": str(words)} | {"detail": str(words)}:
            return str(value.get("code", "")), words
        case _:
            return "", body


def retry_after(response: httpx.Response, now: datetime) -> float | None:
    """The header in both its forms, seconds and an HTTP date; None when it is missing or cannot be read."""
    value = response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, now)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """First byte and whole length, as far as the header says them."""
    found = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    first, length = found.groups() if found else (None, None)
    return int(first) if first else None, int(length) if length else None


def _seconds_until(value: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return math.nan
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
