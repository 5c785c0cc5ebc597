from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftorch.core.errors import DataError
from unit.data.samples import DPO, Row, lines, pairs, prepared, triples, write_rows

COLUMNS = {"text": "text", "label": "label"}


def labelled(count: int, *labels: str) -> list[Row]:
    return [{"text": f"Text {number}", "label": labels[number % len(labels)]} for number in range(count)]


def test_labels_come_sorted_from_the_dataset_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", labelled(60, "pear", "apple", " fig "))

    assert prepared(path, labels="from-data").facts.labels == ("apple", "fig", "pear")


def test_an_answer_outside_a_closed_set_is_told_with_the_nearest(tmp_path: Path) -> None:
    rows = labelled(60, "yes", "no")
    rows[41] = {"text": "Is it?", "label": "yess"}

    report = prepared(write_rows(tmp_path / "a.jsonl", rows), labels=("yes", "no")).report

    (finding,) = report.findings
    assert str(finding) == "a.jsonl:42: D601 error: label: 'yess' is not one of the 2 labels (did you mean 'yes'?)"


def test_answers_inside_the_set_pass_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", labelled(60, "yes", "no"))

    assert prepared(path, labels=("yes", "no", "maybe")).facts.labels == ("yes", "no", "maybe")


def test_held_out_answers_must_be_labels_of_the_dataset_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", [{"text": f"Exam {label}", "label": label} for label in ("a", "c", "c")])
    path = write_rows(tmp_path / "a.jsonl", labelled(60, "a", "b"))

    report = prepared(path, labels="from_data", held_out={"path": "test.jsonl"}).report

    assert [(fault.rule, fault.file, fault.line) for fault in report.errors] == [("D601", "test.jsonl", 2)]


def test_both_answers_of_a_preference_are_labels(tmp_path: Path) -> None:
    rows = triples(60)

    report = prepared(write_rows(tmp_path / "a.jsonl", rows), DPO, labels=tuple(f"Yes {n}" for n in range(60))).report

    assert report.counts["D601"] == 60


def test_free_text_is_no_set_of_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="more than 1000 different answers"):
        prepared(write_rows(tmp_path / "a.jsonl", pairs(1100)), labels="from_data")


def test_the_template_gets_text_and_labels(tmp_path: Path) -> None:
    rows = [*labelled(60, "b", "a"), {"text": "Is {labels} a {text}?", "label": "a"}]
    path = write_rows(tmp_path / "a.jsonl", rows)
    done = prepared(path, labels="from_data", prompt="One of {labels}: {text}!", system="Be brief")

    done.write(tmp_path / "out")

    written = [*lines(tmp_path / "out" / "train.jsonl"), *lines(tmp_path / "out" / "held_out.jsonl")]
    prompts = [[message["content"] for message in row["prompt"]] for row in written]
    assert ["Be brief", "One of a, b: Text 0!"] in prompts
    assert ["Be brief", "One of a, b: Is {labels} a {text}?!"] in prompts


def test_another_template_or_more_labels_move_no_row(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", labelled(200, "a", "b"))
    before = _held_out(path, tmp_path / "one", prompt="{text} ({labels})")
    write_rows(path, [*labelled(200, "a", "b"), {"text": "New", "label": "c"}])

    assert before <= _held_out(path, tmp_path / "two", prompt="{labels}? {text} ({labels})")


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ({"prompt": "Classify"}, r"\{text\} is missing"),
        ({"prompt": "{text} {labels}"}, "dataset.labels is not set"),
    ],
)
def test_a_template_that_cannot_work_is_refused(dataset: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        prepared(write_rows(tmp_path / "a.jsonl", labelled(60, "a")), columns=COLUMNS, **dataset)

    assert caught.value.faults[0].key == "dataset.prompt"


def test_a_template_for_rows_that_bring_their_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="these are prompt_completion rows"):
        prepared(write_rows(tmp_path / "a.jsonl", pairs(60)), prompt="{text}")


def _held_out(path: Path, dest: Path, prompt: str) -> set[str]:
    done = prepared(path, labels="from_data", prompt=prompt)
    done.write(dest)
    return {row["prompt"][0]["content"].split("Text ")[-1].split()[0] for row in lines(dest / "held_out.jsonl")}
