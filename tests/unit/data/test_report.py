from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.errors import DataError
from ftorch.data.report import SHOWN, Findings
from unit.data.samples import PAIR, prepared, scanned, write_rows


def test_twenty_of_a_rule_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"prompt": "a"}] * 25 + [PAIR])

    _, report = scanned(path)

    shown = list(report.lines())
    assert len(report.faults) == SHOWN
    assert report.counts == {"D201": 25}
    assert shown[19].startswith("a.jsonl:20: D201 error: completion: missing")
    assert shown[20] == "D201: … and 5 more"


def test_findings_are_in_file_order_and_whole_files_come_last() -> None:
    findings = Findings("train", "test")
    findings.add("D404", "c", file="test", line=1)
    findings.add("D012", "d", file="train")
    findings.add("D401", "b", file="train", line=9)
    findings.add("D105", "a", file="train", line=3)

    assert [fault.message for fault in findings.report().faults] == ["a", "b", "d", "c"]


def test_warnings_stop_nothing() -> None:
    findings = Findings("a")
    findings.add("D401", "the same row as line 1", file="a", line=2)
    report = findings.report()

    report.raise_if_errors()

    assert report.ok
    assert [fault.rule for fault in report.warnings] == ["D401"]


def test_errors_are_raised_with_every_shown_fault_and_the_rest_counted(tmp_path: Path) -> None:
    report = prepared(write_rows(tmp_path / "a.jsonl", [{"prompt": "a"}] * 25 + [PAIR])).report

    with pytest.raises(DataError) as caught:
        report.raise_if_errors()

    assert caught.value.exit_code == 3
    assert len(caught.value.faults) == 21
    assert (caught.value.faults[3].file, caught.value.faults[3].line, caught.value.faults[3].rule) == (
        "a.jsonl",
        4,
        "D201",
    )
    assert caught.value.faults[-1].message == "… and 5 more"
