from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftorch.data import Prepared, TokenCount, prepare, tokens
from ftorch.manifest.plan import TokenSource
from ftorch.manifest.schema import Dataset, Dpo, Sft
from unit.data.conftest import MakeBase
from unit.data.samples import Row, pairs, triples, write_rows

PLAIN = (
    "{% for m in messages %}{{ '>>' if m.role == 'assistant' }}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}>>{% endif %}"
)
"""A token for each byte of content, and two for the head of an answer."""


def counted(path: Path, base: Path | None = None, max_length: int = 1024, method: str = "sft", **more: Any) -> Prepared:
    made: Sft | Dpo = Sft(type="sft", batch_size=1, max_length=max_length)
    if method == "dpo":
        made = Dpo(type="dpo", batch_size=1, max_length=max_length)
    return prepare(Dataset(path=path.name, **more), made, folder=path.parent, tokenizer=base)


def sized(count: int, prompt: int, answer: int) -> list[Row]:
    """Rows with a different prompt each, of so many bytes."""
    return [{"prompt": f"{number:0{prompt}d}", "completion": "y" * answer} for number in range(count)]


def held_apart(tmp_path: Path) -> dict[str, Any]:
    """A held-out file, so that every row of the dataset is trained on."""
    write_rows(tmp_path / "test.jsonl", pairs(1, "Exam"))
    return {"held_out": {"path": "test.jsonl"}}


def test_a_tokenizer_counts_exactly(make_base: MakeBase, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", sized(60, 10, 5))

    done = counted(path, make_base(PLAIN), **held_apart(tmp_path))

    assert done.tokens == TokenCount(1020, 17, TokenSource.TOKENIZER, sampled=False, low=1020, high=1020)
    assert (done.facts.train_tokens, done.facts.longest_row_tokens) == (1020, 17)


def test_without_a_tokenizer_bytes_are_counted_and_called_an_estimate(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", sized(60, 10, 5))

    done = counted(path, **held_apart(tmp_path))

    assert done.tokens.total == 60 * (4 + 2 * 8)
    assert done.facts.token_source is TokenSource.ESTIMATE
    assert done.tokens.low < done.tokens.total < done.tokens.high


def test_held_out_rows_are_not_counted(make_base: MakeBase, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", sized(300, 10, 5))

    done = counted(path, make_base(PLAIN))

    assert done.tokens.total == 17 * done.facts.train_rows < 17 * 300


def test_a_preference_row_counts_its_prompt_twice(make_base: MakeBase, tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", [{"prompt": "Exam", "chosen": "a", "rejected": "b"}])
    path = write_rows(tmp_path / "a.jsonl", [{**row, "prompt": f"{n:04}"} for n, row in enumerate(triples(10))])

    done = counted(path, make_base(PLAIN), method="dpo", held_out={"path": "test.jsonl"})

    assert done.tokens.total == 10 * (2 * (4 + 2) + len("Yes 1") + len("Not 1"))
    assert done.tokens.per_row_longest == 11


def test_rows_are_cut_at_max_length_and_told(make_base: MakeBase, tmp_path: Path) -> None:
    rows = sized(60, 10, 5)
    rows[3]["completion"] = "y" * 20

    done = counted(write_rows(tmp_path / "a.jsonl", rows), make_base(PLAIN), max_length=22, **held_apart(tmp_path))

    (finding,) = done.report.findings
    assert str(finding) == "a.jsonl:4: D301 warn: 32 tokens, max_length is 22: 50 % of the answer is cut"
    assert finding.fault.hint == "raise method.max_length to 32, or shorten the row"
    assert done.tokens.total == 59 * 17 + 22


def test_a_prompt_that_fills_max_length_is_an_error(make_base: MakeBase, tmp_path: Path) -> None:
    rows = sized(60, 10, 5)
    rows[7]["prompt"] = "x" * 20

    report = counted(
        write_rows(tmp_path / "a.jsonl", rows), make_base(PLAIN), max_length=22, **held_apart(tmp_path)
    ).report

    (fault,) = report.errors
    assert (fault.rule, fault.line) == ("D302", 8)
    assert fault.message == "the prompt alone has 22 tokens, max_length is 22: nothing is learned"


def test_when_every_row_is_too_long_there_is_one_error(make_base: MakeBase, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", sized(60, 40, 5))

    report = counted(path, make_base(PLAIN), max_length=22, **held_apart(tmp_path)).report

    (fault,) = report.errors
    assert fault.key == "method.max_length"
    assert fault.message.startswith("all 60 rows are too long")
    assert fault.hint == "raise method.max_length to 47"


def test_an_estimate_never_stops_a_job(tmp_path: Path) -> None:
    rows = sized(60, 10, 5)
    rows[7]["prompt"] = "x" * 500

    report = counted(write_rows(tmp_path / "a.jsonl", rows), max_length=100, **held_apart(tmp_path)).report

    assert report.ok
    (fault,) = report.warnings
    assert (fault.rule, fault.line) == ("D302", 8)
    assert "~141 tokens" in fault.message


def test_a_template_that_refuses_a_row_is_an_error_on_its_line(make_base: MakeBase, tmp_path: Path) -> None:
    base = make_base("{% if messages[0].content == 'bad' %}{{ raise_exception('no') }}{% endif %}x")
    rows = [*pairs(60), {"prompt": "bad", "completion": "b"}]

    report = counted(write_rows(tmp_path / "a.jsonl", rows), base, **held_apart(tmp_path)).report

    assert [str(finding) for finding in report.findings] == [
        "a.jsonl:61: D708 error: the base model's chat template refuses it: no"
    ]


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file is slow to count: move the limits instead."""
    monkeypatch.setattr(tokens, "SAMPLE_ROWS", 200)
    monkeypatch.setattr(tokens, "EXACT_BYTES", 1000)


@pytest.mark.usefixtures("small_limits")
def test_a_large_file_is_sampled_and_the_total_lies_in_the_interval(make_base: MakeBase, tmp_path: Path) -> None:
    rows = [{"prompt": f"{number:04}", "completion": "y" * (1 + number % 50)} for number in range(2000)]
    path = write_rows(tmp_path / "a.jsonl", rows)
    true_total = sum(4 + 2 + 1 + number % 50 for number in range(2000))

    done = counted(path, make_base(PLAIN), **held_apart(tmp_path))

    assert done.tokens.sampled
    assert done.tokens.low <= true_total <= done.tokens.high
    assert done.tokens.total != true_total
    assert done.tokens.high - done.tokens.low < 0.2 * true_total
    assert counted(path, make_base(PLAIN), **held_apart(tmp_path)).tokens == done.tokens


@pytest.mark.usefixtures("small_limits")
def test_few_rows_are_counted_whole_however_large_the_file(make_base: MakeBase, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", sized(150, 50, 5))

    assert not counted(path, make_base(PLAIN), **held_apart(tmp_path)).tokens.sampled


def test_the_sample_is_always_the_same() -> None:
    assert tokens.sample(10_000) == tokens.sample(10_000)
    assert len(tokens.sample(10_000)) == 2000
