"""The catalogue of data rules, read from `rules.toml`, and the page of the documentation that is made from it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Level(StrEnum):
    """What a finding means for the job."""

    ERROR = "error"
    """The provider would refuse the file, or the model would learn garbage: nothing is submitted."""
    WARN = "warn"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `bad` breaks it and `good` keeps it: rows of a file, or words where rows cannot show it."""

    id: str
    level: Level
    title: str
    why: str
    bad: str
    good: str


def _catalogue() -> Mapping[str, Rule]:
    tables = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))
    return {name: Rule(id=name, **{**table, "level": Level(table["level"])}) for name, table in tables.items()}


CATALOGUE: Mapping[str, Rule] = _catalogue()
"""Every rule by its id, in order."""

_HEAD = """\
# Data rules

What `ftorch validate` and `ftorch plan` check in a dataset. An `error` stops the job before anything is sent; `warn`
and `info` are told and stop nothing. This page is made from `src/ftorch/data/rules.toml`.

| id | level | rule | why | bad | good |
|---|---|---|---|---|---|
"""


def markdown() -> str:
    """The page `docs/reference/data-rules.md`."""
    return _HEAD + "".join(map(_table_row, CATALOGUE.values()))


def _table_row(rule: Rule) -> str:
    cells = (rule.id, rule.level, rule.title, rule.why, _example(rule.bad), _example(rule.good))
    return f"| {' | '.join(cells)} |\n"


def _example(text: str) -> str:
    """An example in one cell: a row starts with a brace, everything else is words."""
    if not text:
        return "(an empty file)"
    return "<br>".join(f"`{line}`" if line.startswith(("{", "[")) else line or "(blank)" for line in text.split("\n"))
