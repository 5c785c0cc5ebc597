"""The table of symptoms, as data."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

from ftorch.core.errors import Fault, ManifestError
from ftorch.core.suggest import did_you_mean


class Answer(StrEnum):
    """What to do."""

    FINE_TUNE = "fine_tune"
    PROMPT = "prompt"
    RETRIEVE = "retrieve"
    DO_NOT = "do_not"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Symptom:
    """One row: what is wrong, and what to try first."""

    name: str
    words: str
    answer: Answer
    advice: str


@cache
def symptoms() -> tuple[Symptom, ...]:
    """The whole table, the rule of thumb first."""
    text = (files("ftorch.jobs.advice") / "symptoms.toml").read_text(encoding="utf-8")
    return tuple(Symptom(**row | {"answer": Answer(row["answer"])}) for row in tomllib.loads(text)["symptom"])


def named(names: Sequence[str], file: str) -> tuple[Symptom, ...]:
    """The rows of these names, in the table's order. Raises ManifestError for a name that is none."""
    known = {symptom.name: symptom for symptom in symptoms()}
    faults = [
        Fault(f"{name!r} is no symptom{did_you_mean(name, known)}", file=file, key="task.symptoms")
        for name in names
        if name not in known
    ]
    if faults:
        raise ManifestError(faults, hint="`ftorch decide --symptoms` lists them")
    return tuple(symptom for symptom in symptoms() if symptom.name in names)
