"""From a file to the frozen splits, and what only whole files show."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftorch.core.errors import DataError
from ftorch.data import FILE_NAMES, Completion, Kind, Preference, prepare
from ftorch.manifest.schema import Dataset, Sft
from unit.data.samples import (
    DPO,
    SFT,
    TRIPLE,
    Row,
    assistant,
    chat,
    found,
    lines,
    pairs,
    prepared,
    scanned,
    system,
    triples,
    user,
    write_rows,
)

INNER: list[tuple[Row, Row]] = [
    (
        chat(system("s"), user("a"), assistant("b", weight=0), user("c", name="Ada"), assistant("d", weight=1)),
        {"prompt": [system("s"), user("a"), assistant("b"), user("c")], "completion": [assistant("d")]},
    ),
    ({"prompt": "a", "completion": "b"}, {"prompt": [user("a")], "completion": [assistant("b")]}),
    (
        {"prompt": [system("s"), user("a")], "completion": [assistant("b")]},
        {"prompt": [system("s"), user("a")], "completion": [assistant("b")]},
    ),
    (TRIPLE, {"prompt": [user("Say hi")], "chosen": [assistant("Hello!")], "rejected": [assistant("No.")]}),
    (
        {
            "input": {"messages": [user("a")], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [assistant("b")],
            "non_preferred_output": [assistant("c")],
        },
        {"prompt": [user("a")], "chosen": [assistant("b")], "rejected": [assistant("c")]},
    ),
]


@pytest.mark.parametrize(("row", "inner"), INNER)
def test_every_format_becomes_the_one_inner_record(row: Row, inner: Row, tmp_path: Path) -> None:
    from ftorch.data.records import to_line

    ((_, record),) = scanned(write_rows(tmp_path / "a.jsonl", [row]))[0]

    assert json.loads(to_line(record)) == inner
    assert isinstance(record, Completion if "completion" in inner else Preference)


def test_the_system_message_goes_in_front_of_rows_that_bring_none(tmp_path: Path) -> None:
    rows = [chat(system("Own"), user(f"a {n}"), assistant("b")) for n in range(30)]
    rows += [chat(user(f"c {n}"), assistant("d")) for n in range(30)]
    done = prepared(write_rows(tmp_path / "a.jsonl", rows), system="Given")

    done.write(tmp_path / "out")

    first = {row["prompt"][-1]["content"][0]: row["prompt"][0] for row in lines(tmp_path / "out" / "train.jsonl")}
    assert first == {"a": system("Own"), "c": system("Given")}


def test_the_facts_are_those_of_the_files(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", pairs(200))
    done = prepared(path, validation={"fraction": 0.1})

    done.write(tmp_path / "out")

    facts = done.facts
    hashes = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").iterdir()}
    assert hashes == {
        "train": facts.train_sha256,
        "validation": facts.validation_sha256,
        "held_out": facts.held_out_sha256,
    }
    assert facts.source == "a.jsonl"
    assert facts.train_rows + facts.validation_rows + facts.held_out_rows == 200


def test_rows_keep_the_order_of_the_file(tmp_path: Path) -> None:
    done = prepared(write_rows(tmp_path / "a.jsonl", pairs(100)))

    done.write(tmp_path / "out")

    numbers = [int(row["completion"][0]["content"].split()[1]) for row in lines(tmp_path / "out" / "train.jsonl")]
    assert numbers == sorted(numbers)


def test_no_validation_means_no_validation_file(tmp_path: Path) -> None:
    done = prepared(write_rows(tmp_path / "a.jsonl", pairs(100)))

    done.write(tmp_path / "out")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["held_out.jsonl", "train.jsonl"]
    assert done.facts.validation_sha256 is None


def test_preparing_writes_nothing(tmp_path: Path) -> None:
    prepared(write_rows(tmp_path / "a.jsonl", pairs(100)))

    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_writing_twice_leaves_the_files_alone(tmp_path: Path) -> None:
    done = prepared(write_rows(tmp_path / "a.jsonl", pairs(100)))
    done.write(tmp_path / "out")
    before = {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir()}

    done.write(tmp_path / "out")

    assert {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir()} == before


def test_a_damaged_file_is_written_again(tmp_path: Path) -> None:
    done = prepared(write_rows(tmp_path / "a.jsonl", pairs(100)))
    done.write(tmp_path / "out")
    train = tmp_path / "out" / "train.jsonl"
    train.write_bytes(train.read_bytes()[:-5])

    done.write(tmp_path / "out")

    assert hashlib.sha256(train.read_bytes()).hexdigest() == done.facts.train_sha256


@pytest.mark.parametrize("change", [pairs(101), pairs(99), pairs(100, "Other")])
def test_a_dataset_that_changed_is_not_written(change: list[Row], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", pairs(100))
    done = prepared(path)
    write_rows(path, change)

    with pytest.raises(DataError, match="the file changed while it was read"):
        done.write(tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []


@settings(max_examples=25)
@given(
    st.lists(
        st.fixed_dictionaries({"prompt": st.text(min_size=1, max_size=9), "completion": st.text(min_size=1)}),
        min_size=5,
        max_size=30,
    )
)
def test_the_same_rows_give_the_same_bytes(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_rows(folder / "a.jsonl", [row for row in rows if _is_said(row)] + pairs(60))
        one, two = (prepare(Dataset(path=path.name), SFT, folder=folder) for _ in range(2))
        one.write(folder / "one")
        two.write(folder / "two")

        assert one.facts == two.facts
        for file in ("train.jsonl", "held_out.jsonl"):
            assert (folder / "one" / file).read_bytes() == (folder / "two" / file).read_bytes()


def test_the_content_hash_is_of_the_rows_and_not_of_their_spelling(tmp_path: Path) -> None:
    plain = write_rows(tmp_path / "a.jsonl", pairs(100))
    spaced = write_rows(
        tmp_path / "b.jsonl", [json.dumps(row, indent=None, separators=(" , ", " :  ")) for row in pairs(100)]
    )
    chats = write_rows(
        tmp_path / "c.jsonl", [chat(user(row["prompt"]), assistant(row["completion"])) for row in pairs(100)]
    )

    assert len({prepared(path).facts.content_hash for path in (plain, spaced, chats)}) == 1
    assert prepared(plain, system="Be brief").facts.content_hash != prepared(plain).facts.content_hash


def test_faults_leave_no_facts(tmp_path: Path) -> None:
    done = prepared(write_rows(tmp_path / "a.jsonl", [*pairs(100), {"prompt": "a"}]))

    assert not done.report.ok
    with pytest.raises(DataError, match=r"a\.jsonl:101: D201: completion: missing"):
        _ = done.facts
    with pytest.raises(DataError):
        done.write(tmp_path / "out")
    with pytest.raises(DataError):
        done.write_lock()
    assert not (tmp_path / "out").exists()


def test_kind_and_labels_are_known(tmp_path: Path) -> None:
    done = prepared(write_rows(tmp_path / "a.jsonl", triples(100)), DPO)

    assert (done.kind, done.labels) == (Kind.PREFERENCE, ())


def test_a_preference_file_is_split_and_written(tmp_path: Path) -> None:
    done = prepared(write_rows(tmp_path / "a.jsonl", triples(100)), DPO)

    done.write(tmp_path / "out")

    assert set(lines(tmp_path / "out" / "held_out.jsonl")[0]) == {"prompt", "chosen", "rejected"}


def test_rows_given_twice_are_counted_and_kept(tmp_path: Path) -> None:
    rows = [*pairs(100), pairs(6)[5], {"prompt": "question 5 ", "completion": "ANSWER 5."}]

    done = prepared(write_rows(tmp_path / "a.jsonl", rows))

    assert found(done.report) == [("D401", 101), ("D401", 102)]
    assert done.report.faults[0].message == "the same row as line 6"
    assert done.facts.train_rows + done.facts.held_out_rows == 102


def test_many_copies_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    report = prepared(write_rows(tmp_path / "a.jsonl", [*pairs(100), *pairs(100)])).report

    assert report.counts == {"D401": 100}
    assert [fault.line for fault in report.faults] == list(range(101, 121))
    assert list(report.lines())[-1] == "D401: … and 80 more"


def test_one_prompt_with_two_answers_is_told(tmp_path: Path) -> None:
    report = prepared(
        write_rows(tmp_path / "a.jsonl", [*pairs(100), {"prompt": "Question 5", "completion": "x"}])
    ).report

    assert [str(finding) for finding in report.findings] == [
        "a.jsonl:101: D403 warn: the prompt of line 6 with another answer"
    ]


def test_one_prompt_with_two_preferences_is_no_conflict(tmp_path: Path) -> None:
    rows = [*triples(100), {**triples(1)[0], "chosen": "Aye 0"}]

    assert found(prepared(write_rows(tmp_path / "a.jsonl", rows), DPO).report) == []


def test_several_system_prompts_are_listed(tmp_path: Path) -> None:
    rows = [chat(system(f"Be {n % 2}"), user(f"a {n}"), assistant("b")) for n in range(100)]

    (finding,) = prepared(write_rows(tmp_path / "a.jsonl", rows)).report.findings

    assert str(finding) == "a.jsonl: D115 info: 2 different system prompts: line 1: 'Be 0'; line 2: 'Be 1'"


@pytest.mark.parametrize(("long", "rules"), [(80, ["D206"]), (60, [])])
def test_chosen_answers_that_are_mostly_longer_are_told(long: int, rules: list[str], tmp_path: Path) -> None:
    rows = [{"prompt": f"a {n}", "chosen": "y" * (9 if n < long else 1), "rejected": "no"} for n in range(100)]

    assert list(prepared(write_rows(tmp_path / "a.jsonl", rows), DPO).report.counts) == rules


@pytest.mark.parametrize(
    ("batch_size", "rows", "rules"), [(1, 49, ["D012"]), (1, 50, []), (8, 79, ["D012"]), (8, 80, [])]
)
def test_few_rows_are_told(batch_size: int, rows: int, rules: list[str], tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", pairs(1, "Exam"))
    write_rows(tmp_path / "a.jsonl", pairs(rows))
    dataset = Dataset.model_validate({"path": "a.jsonl", "held_out": {"path": "test.jsonl"}})

    report = prepare(dataset, Sft(type="sft", batch_size=batch_size), folder=tmp_path).report

    assert list(report.counts) == rules


@pytest.mark.parametrize(
    ("dataset", "key", "words"),
    [
        ({"held_out": {"fraction": 0.01}}, "held_out.fraction", "a fraction of 0.01 drew none of 4 rows for held_out"),
        (
            {"validation": {"fraction": 0.01}, "held_out": {"fraction": 0.5}},
            "validation.fraction",
            "a fraction of 0.01 drew none of 4 rows for validation",
        ),
        ({"held_out": {"fraction": 0.999}}, "held_out", "no row is train: 4 rows, of which 4 held_out"),
    ],
)
def test_an_empty_split_is_an_error_with_numbers(dataset: Any, key: str, words: str, tmp_path: Path) -> None:
    report = prepared(write_rows(tmp_path / "a.jsonl", pairs(4)), **dataset).report

    (fault,) = report.errors
    assert (fault.rule, fault.key, fault.message) == ("D013", f"dataset.{key}", words)


def test_progress_is_told_from_nothing_to_all(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", pairs(100))
    seen: list[tuple[int, int]] = []

    done = prepare(
        Dataset(path="a.jsonl"), SFT, folder=tmp_path, progress=lambda done, total: seen.append((done, total))
    )
    done.write(tmp_path / "out")

    assert seen[-1] == (2 * path.stat().st_size, 2 * path.stat().st_size)
    assert seen == sorted(seen)


def test_the_names_of_the_files_are_those_of_the_splits() -> None:
    assert sorted(FILE_NAMES.values()) == ["held_out.jsonl", "train.jsonl", "validation.jsonl"]


def _is_said(row: Row) -> bool:
    return bool(row["prompt"].strip() and row["completion"].strip())
