"""Rows of a scores file: what one model answered to each held-out row.

The trainer, the endpoint runner and any other tool write the same lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ftorch.core.errors import DataError, Fault

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class HeldOutRow:
    """One row that no training has seen. `reference` is None for a row of preferences."""

    sha256: str
    prompt: Sequence[Mapping[str, str]]
    reference: str | None


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """What one model said to one held-out row. What was not measured is None."""

    sha256: str
    output: str = ""
    reference: str = ""
    label: str | None = None
    """The most likely of the closed set of labels, where the model was asked for it."""
    chosen_logp: float | None = None
    rejected_logp: float | None = None
    latency_ms: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None
    """In USD; None when nobody named a price."""
    is_truncated: bool = False


def read_scores(path: Path, held_out: Sequence[HeldOutRow]) -> list[ScoredRow]:
    """A scores file, one JSON object per line, in the order of the held-out rows.

    A line needs `row_sha256` and either `output` or both of `chosen_logp` and `rejected_logp`. Raises DataError with
    file and line for what is no such row, for rows of another held-out set, for one that is there twice, and for
    missing ones.
    """
    return aligned([_row(value, number, path) for number, value in _objects(path)], held_out, str(path))


def aligned(scores: Iterable[tuple[int, ScoredRow]], held_out: Sequence[HeldOutRow], file: str) -> list[ScoredRow]:
    """The scores in the order of the held-out rows, each with its own reference. Raises DataError where they differ."""
    wanted = {row.sha256 for row in held_out}
    found: dict[str, ScoredRow] = {}
    faults: list[Fault] = []
    for line, score in scores:
        if score.sha256 not in wanted:
            faults.append(Fault(f"row {score.sha256[:12]} is not one of the held-out rows", file=file, line=line))
        elif score.sha256 in found:
            faults.append(Fault(f"row {score.sha256[:12]} is there twice", file=file, line=line))
        found[score.sha256] = score
    missing = [row.sha256 for row in held_out if row.sha256 not in found]
    if missing:
        some = ", ".join(sha256[:12] for sha256 in missing[:_SHOWN])
        words = f"{len(missing)} of {len(held_out)} held-out rows have no score: {some}"
        faults.append(Fault(words, file=file))
    if faults:
        hint = "write the prompts with `ftorch eval JOB --prompts FILE`, answer them, and keep row_sha256 of each"
        raise DataError(faults, hint=hint)
    return [replace(found[row.sha256], reference=row.reference or "") for row in held_out]


def read_held_out(path: Path) -> list[HeldOutRow]:
    """The frozen held-out rows of a job."""
    rows = []
    for line in path.read_bytes().splitlines():
        value = json.loads(line)
        reference = value["completion"][0]["content"] if "completion" in value else None
        rows.append(HeldOutRow(hashlib.sha256(line).hexdigest(), value["prompt"], reference))
    return rows


def _objects(path: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError([Fault(f"cannot be read: {error}", file=str(path))]) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError([Fault(f"is not JSON: {error}", file=str(path), line=number)]) from error
        if not isinstance(value, dict):
            raise DataError([Fault("is not an object", file=str(path), line=number)])
        yield number, value


def _row(value: Mapping[str, Any], line: int, path: Path) -> tuple[int, ScoredRow]:
    try:
        return line, scored(value)
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        words = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else f"cannot be read: {error}"
        raise DataError([Fault(words, file=str(path), line=line)]) from error


def scored(value: Mapping[str, Any]) -> ScoredRow:
    """One row as the trainer and the endpoint runner write it. Raises KeyError, TypeError or ValueError."""
    if "output" not in value and "chosen_logp" not in value:
        raise KeyError("output")
    return ScoredRow(
        sha256=_text(value["row_sha256"]),
        output=_text(value.get("output", "")),
        reference=_text(value.get("reference", "")),
        label=_optional(value.get("label"), _text),
        chosen_logp=_optional(value.get("chosen_logp"), float),
        rejected_logp=_optional(value.get("rejected_logp"), float),
        latency_ms=_optional(value.get("latency_ms"), float),
        prompt_tokens=_optional(value.get("prompt_tokens"), int),
        output_tokens=_optional(value.get("output_tokens"), int),
        cost=_optional(value.get("cost"), lambda text: Decimal(str(text))),
        is_truncated=bool(value.get("truncated", False)),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be text, not {value!r}")
    return value


def _optional(value: Any, read: Any) -> Any:
    return None if value is None else read(value)
