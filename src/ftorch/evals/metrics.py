"""Metrics: what one held-out row scores, between 0 and 1. Pure; the names are those of the manifest."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ftorch.core.normalise import normalise
from ftorch.evals.rows import ScoredRow
from ftorch.manifest.evaluation import REGEX

Score = Callable[[ScoredRow], float]

_CLOSE = 1e-6


def row_scores(metric: str, rows: Sequence[ScoredRow], labels: Sequence[str]) -> list[float] | None:
    """The metric's score of each row; None where the rows do not hold what it needs, or it has no score per row."""
    score = _score(metric, frozenset(labels))
    if score is None or not all(_has(metric, row) for row in rows):
        return None
    return [score(row) for row in rows]


def macro_f1(rows: Sequence[ScoredRow], labels: Sequence[str]) -> float:
    """The mean over the labels of 2TP / (2TP + FP + FN); a label that neither occurs nor is answered counts as 0."""
    counts = Counter((row.reference, answered_label(row, frozenset(labels))) for row in rows)
    return sum(_f1(label, counts) for label in labels) / len(labels)


def confusion(rows: Sequence[ScoredRow], labels: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    """Reference -> answer -> rows, counts above 0 only. An answer that is no label counts under `(none)`."""
    table: dict[str, Counter[str]] = {label: Counter() for label in labels}
    for row in rows:
        table.setdefault(row.reference, Counter())[answered_label(row, frozenset(labels)) or "(none)"] += 1
    return {reference: dict(answers) for reference, answers in table.items()}


def answered_label(row: ScoredRow, labels: frozenset[str]) -> str | None:
    """The label that the model chose: the most likely one where it was asked for it, else its free answer."""
    if row.label is not None:
        return row.label
    free = normalise(row.output)
    return next((label for label in labels if normalise(label) == free), None)


def _score(metric: str, labels: frozenset[str]) -> Score | None:
    if metric.startswith(REGEX):
        pattern = re.compile(metric.removeprefix(REGEX), re.DOTALL)
        return lambda row: float(pattern.fullmatch(row.output.strip()) is not None)
    if metric == "label_accuracy":
        return lambda row: float(answered_label(row, labels) == row.reference)
    return _SCORES.get(metric)


def _has(metric: str, row: ScoredRow) -> bool:
    match metric:
        case "preference_accuracy":
            return row.chosen_logp is not None and row.rejected_logp is not None
        case "latency_ms":
            return row.latency_ms is not None
        case _:
            return row.chosen_logp is None


def _json_fields(row: ScoredRow) -> float:
    """F1 over the fields of the reference: 2 equal / (answered + asked). 0 where the answer is no object."""
    wanted, given = _json(row.reference), _json(row.output)
    if not isinstance(wanted, dict) or not isinstance(given, dict):
        return 0.0
    if not wanted and not given:
        return 1.0
    equal = sum(key in given and _same(value, given[key]) for key, value in wanted.items())
    return 2 * equal / (len(wanted) + len(given))


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON: numbers within 1e-6 of each other's size, lists in any order, texts after normalising."""
    match left, right:
        case (bool(), _) | (_, bool()) | (None, _) | (_, None):
            return left is right
        case (int() | float(), int() | float()):
            return abs(left - right) <= _CLOSE * max(1.0, abs(left), abs(right))
        case str(), str():
            return normalise(left) == normalise(right)
        case dict(), dict():
            return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
        case list(), list():
            return len(left) == len(right) and _match_all(left, list(right))
        case _:
            return False


def _match_all(left: list[Any], rest: list[Any]) -> bool:
    for value in left:
        found = next((index for index, other in enumerate(rest) if _same(value, other)), None)
        if found is None:
            return False
        del rest[found]
    return True


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _f1(label: str, counts: Mapping[tuple[str, str | None], int]) -> float:
    right = counts.get((label, label), 0)
    asked = sum(count for (reference, _), count in counts.items() if reference == label)
    answered = sum(count for (_, answer), count in counts.items() if answer == label)
    return 2 * right / (asked + answered) if asked + answered else 0.0


def _prefers_chosen(row: ScoredRow) -> float:
    assert row.chosen_logp is not None
    assert row.rejected_logp is not None
    return float(row.chosen_logp > row.rejected_logp)


_SCORES: Mapping[str, Score] = {
    "exact_match": lambda row: float(row.output.strip() == row.reference.strip()),
    "normalised_match": lambda row: float(normalise(row.output) == normalise(row.reference)),
    "json_valid": lambda row: float(_is_json(row.output)),
    "json_fields": _json_fields,
    "preference_accuracy": _prefers_chosen,
    "latency_ms": lambda row: row.latency_ms or 0.0,
}
