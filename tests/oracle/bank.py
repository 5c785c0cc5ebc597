"""Rows of banking77 (Casanueva et al., 2020, CC-BY-4.0) from the folder beside the clone."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from e2e.shell import ROOT

DATA = ROOT.parent / "shared" / "data" / "banking77"


def rows(file: str, intents: Sequence[str], per_intent: int) -> list[dict[str, str]]:
    """The first rows of each intent, shuffled once with a fixed seed."""
    assert DATA.is_dir(), f"{DATA} is missing: this suite measures on real data and does not skip"
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (DATA / file).open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["category"] in intents and len(found[row["category"]]) < per_intent:
                found[row["category"]].append(row)
    chosen = [row for intent in intents for row in found[intent]]
    random.Random(7).shuffle(chosen)
    return chosen


def write_csv(path: Path, source: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ("text", "category"))
        writer.writeheader()
        writer.writerows(source)
