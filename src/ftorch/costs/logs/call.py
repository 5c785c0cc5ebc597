"""One call of a hosted model, whoever logged it, and the words for what a line lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

Json = Any
Object = Mapping[str, Json]


class NotACallError(ValueError):
    """A line that should be a call and is not; the words say what is missing."""


@dataclass(frozen=True, slots=True)
class Call:
    """What one line tells."""

    at: datetime
    model: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost: Decimal | None
    """In USD, where the log says it."""
    is_paid: bool
    """False: it failed, or was answered from a cache of one's own."""


def first(row: Object, *paths: str) -> Json:
    """The first of these dotted paths that leads to something; None where none does."""
    for path in paths:
        value: Json = row
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def text(value: Json, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise NotACallError(f"has no {what}")
    return value


def count(value: Json, what: str) -> int:
    if isinstance(value, str) and value.isdigit():
        return int(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0 or value != int(value):
        raise NotACallError(f"{what} must be a count, not {value!r}" if value is not None else f"has no {what}")
    return int(value)


def amount(value: Json, what: str) -> Decimal | None:
    """A number of dollars as the log has it; floats by their shortest text."""
    if value is None:
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if isinstance(value, bool) or not found.is_finite() or found < 0:
        raise NotACallError(f"{what} must be an amount, not {value!r}")
    return found


def moment(value: Json, what: str) -> datetime:
    """Seconds, milliseconds or nanoseconds since 1970, or a date and time; without a zone it is UTC."""
    if isinstance(value, str) and not value.replace(".", "", 1).isdigit():
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            raise NotACallError(f"{what} must be a date and time, not {value!r}") from None
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        raise NotACallError(f"has no {what}")
    seconds = float(value)
    while seconds > 1e11:  # later than the year 5000: not seconds
        seconds /= 1000
    return datetime.fromtimestamp(seconds, UTC)
