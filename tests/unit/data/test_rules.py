from __future__ import annotations

import re
from pathlib import Path

import pytest

from ftorch.data import CATALOGUE, Level, Rule
from ftorch.data.rules import markdown
from unit.data.samples import scanned

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "data-rules.md"
WHOLE_ROWS = [
    rule
    for rule in CATALOGUE.values()
    if rule.bad.startswith("{") and "..." not in rule.bad and rule.id not in ("D401", "D403")
]


def test_the_page_in_the_docs_is_the_catalogue() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown()


def test_ids_are_in_order_and_of_one_form() -> None:
    assert list(CATALOGUE) == sorted(CATALOGUE)
    assert all(re.fullmatch(r"D\d{3}", name) and rule.id == name for name, rule in CATALOGUE.items())


@pytest.mark.parametrize("rule", WHOLE_ROWS, ids=lambda rule: rule.id)
def test_the_bad_example_breaks_its_rule_and_the_good_one_breaks_none(rule: Rule, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.jsonl", tmp_path / "good.jsonl"
    bad.write_text(f"{rule.good}\n{rule.bad}\n" if rule.id != "D009" else rule.bad)
    good.write_text(rule.good)

    assert rule.id in scanned(bad)[1].counts
    assert not scanned(good)[1].counts


def test_nothing_that_a_rule_says_is_an_empty_word() -> None:
    assert all(rule.title and rule.why.endswith(".") for rule in CATALOGUE.values())
    assert {rule.level for rule in CATALOGUE.values()} == set(Level)
