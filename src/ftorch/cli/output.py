"""How answers are printed: tables for people, JSON for programs, errors with their hints."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import click

from ftorch.core.clock import rfc3339
from ftorch.core.errors import FtorchError, InputError
from ftorch.core.money import Money, exact

_MOST_FAULTS = 100


def wants_json() -> bool:
    """True when the command that runs was given `--json`."""
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().meta.get("json")) or "--json" in sys.argv[1:]


def to_json(value: Any) -> Any:
    """A value as JSON has it: money with currency, moments in RFC 3339 UTC, unknown as null."""
    if isinstance(value, tuple(_AS_JSON)):
        return next(convert(value) for kind, convert in _AS_JSON.items() if isinstance(value, kind))
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON knows no infinity: a bound that nothing bounds is unknown
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(inner) for inner in value]
    return value


_AS_JSON: Mapping[type, Callable[[Any], Any]] = {
    Money: lambda value: {"amount": exact(value.amount), "currency": value.currency},
    Decimal: exact,
    datetime: rfc3339,
    date: date.isoformat,
    timedelta: timedelta.total_seconds,
    Enum: lambda value: value.value,
    Path: str,
}


def print_json(value: Any) -> None:
    click.echo(json.dumps(to_json(value), indent=2, ensure_ascii=False))


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """A plain table on stdout: columns as wide as their widest cell, numbers to the right."""
    cells = [tuple(headings), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    line = "  ".join(f"{{:{'>' if column in right else '<'}{width}}}" for column, width in enumerate(widths))
    # In one go: ten thousand small writes are most of the time of a long table.
    click.echo("\n".join([line.format(*row).rstrip() for row in cells]))


def say(words: str) -> None:
    """Words for people, on stderr."""
    click.echo(words, err=True)


def show_error(error: FtorchError) -> None:
    """What happened and what to do next; with `--json` as one object on stdout."""
    if wants_json():
        click.echo(json.dumps({"error": _error_object(error)}, indent=2))
        return
    lines = error.message.splitlines()
    for line in lines[:_MOST_FAULTS]:
        say(line)
    if len(lines) > _MOST_FAULTS:
        say(f"... and {len(lines) - _MOST_FAULTS} more")
    if error.hint:
        say(f"hint: {error.hint}")


def _error_object(error: FtorchError) -> dict[str, object]:
    first = error.faults[0] if isinstance(error, InputError) and error.faults else None
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "file": first.file if first else None,
        "line": first.line if first else None,
        "key": first.key if first else None,
    }


def ago(moment: datetime | None, now: datetime) -> str:
    """`3 min ago`, for lists."""
    if moment is None:
        return "-"
    seconds = int((now - moment).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(seconds, 0)} s ago"


def duration(seconds: int | None) -> str:
    """`1 h 05 min`, `2 min 10 s`."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def state_words(state: str, reason: str | None) -> str:
    """`failed (out_of_budget)`; a reason that only repeats the state is left out."""
    return f"{state} ({reason})" if reason and reason != "completed" else state
