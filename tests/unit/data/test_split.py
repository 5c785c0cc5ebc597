from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftorch.data.fingerprint import fingerprint
from ftorch.data.records import Message, Split
from ftorch.data.split import Draw, Splits, Splitter
from ftorch.manifest.schema import HeldOutFraction
from unit.data.samples import Row, lines, pairs, prepared, write_rows

PROMPTS = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=60, unique=True)


def splitter(held_out: float = 0.3, validation: float = 0.2, seed: int = 7) -> Splitter:
    return Splitter(
        Draw(HeldOutFraction(fraction=held_out, seed=seed), Split.HELD_OUT),
        Draw(HeldOutFraction(fraction=validation, seed=seed), Split.VALIDATION),
    )


def split(prompt: str, how: Splitter) -> Split:
    return how.split(fingerprint([Message("user", prompt)]))


@given(PROMPTS, PROMPTS)
def test_adding_rows_never_moves_an_old_row(old: list[str], new: list[str]) -> None:
    before = {prompt: split(prompt, splitter()) for prompt in old}
    after = {prompt: split(prompt, splitter()) for prompt in [*new, *reversed(old)]}

    assert {prompt: after[prompt] for prompt in old} == before


@given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2).map(sorted), st.integers(0, 2**64 - 1))
def test_a_larger_fraction_keeps_what_the_smaller_one_held_out(fractions: list[float], row: int) -> None:
    small, large = (Draw(HeldOutFraction(fraction=fraction), Split.HELD_OUT) for fraction in fractions)

    assert large.takes(row) or not small.takes(row)


def test_a_fraction_is_about_that_many_rows() -> None:
    how = splitter(0.3, 0.2)

    counts = [split(f"Question {number}", how) for number in range(10_000)]

    assert 0.28 < counts.count(Split.HELD_OUT) / 10_000 < 0.32
    assert 0.12 < counts.count(Split.VALIDATION) / 10_000 < 0.16


def test_another_seed_draws_other_rows() -> None:
    drawn = [{n for n in range(1000) if split(f"Q {n}", splitter(seed=seed)) is Split.HELD_OUT} for seed in (1, 2)]

    assert 40 < len(drawn[0] & drawn[1]) < 140


def test_validation_is_drawn_independently_of_held_out() -> None:
    draws = [Draw(HeldOutFraction(fraction=0.5), which) for which in (Split.HELD_OUT, Split.VALIDATION)]
    both = sum(all(draw.takes(fingerprint([Message("user", f"Q {n}")])) for draw in draws) for n in range(4000))

    assert 900 < both < 1100


@pytest.mark.parametrize("validation", [None, {"fraction": 0.2}])
def test_splits_are_disjoint_and_complete(validation: Any, tmp_path: Path) -> None:
    rows = pairs(400)
    done = prepared(write_rows(tmp_path / "a.jsonl", rows), held_out={"fraction": 0.2}, validation=validation)

    done.write(tmp_path / "out")

    written = [_prompts(path) for path in sorted((tmp_path / "out").iterdir())]
    assert len(written) == (3 if validation else 2)
    assert sum(map(len, written)) == 400
    assert set().union(*written) == {row["prompt"] for row in rows}
    assert (done.facts.train_rows, done.facts.validation_rows, done.facts.held_out_rows) == _counts(tmp_path / "out")


@settings(max_examples=30)
@given(copies=st.lists(st.sampled_from(["Ask {}", "ask {}?", " ASK  {} ", "“Ask {}”"]), min_size=2, max_size=4))
def test_copies_of_a_prompt_never_straddle(copies: list[str]) -> None:
    for number in range(50):
        assert len({split(copy.format(number), splitter()) for copy in copies}) == 1


def test_a_split_takes_a_byte_a_row() -> None:
    splits = Splits()
    for which in (Split.TRAIN, Split.HELD_OUT, Split.TRAIN, Split.VALIDATION):
        splits.append(which)

    assert [splits[index] for index in range(len(splits))] == [
        Split.TRAIN,
        Split.HELD_OUT,
        Split.TRAIN,
        Split.VALIDATION,
    ]
    assert [splits.count(which) for which in Split] == [2, 1, 1]


def _prompts(path: Path) -> set[str]:
    return {row["prompt"][0]["content"] for row in lines(path)}


def _counts(folder: Path) -> tuple[int, int, int]:
    found: dict[str, list[Row]] = {path.stem: list(lines(path)) for path in folder.iterdir()}
    train, validation, held_out = (len(found.get(name, [])) for name in ("train", "validation", "held_out"))
    return train, validation, held_out
