"""`ftorch adapters` as it is typed, where one folder is not here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from unit.cli.test_schedule import answered, said
from unit.schedule.bench import bench_in


@pytest.fixture(autouse=True)
def missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two adapters; the folder of the first has gone."""
    with bench_in(tmp_path) as bench:
        first, _ = (bench.trained(name, train=range(10), held_out=range(10, 20)) for name in ("a", "b"))
    shutil.rmtree(str(first.adapter))
    monkeypatch.setenv("FTORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return str(first.adapter)


def test_the_list_says_which_adapter_is_not_here(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, *rows = said(capsys, "adapters")[0].splitlines()
    [gone] = [row.split() for row in rows if row.endswith("(not here)")]

    assert len(rows) == 2
    assert gone == ["support/1", "kept", "a", "-", missing, "(not", "here)"]


def test_a_program_is_told_the_same(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = {one["version"]: one for one in answered(capsys, "adapters", "adapters")}
    gone, here = found["support/1"], found["support/2"]

    assert (gone["path"], gone["is_here"], gone["receipt"], gone["lineage"]) == (missing, False, {}, None)
    assert (here["is_here"], here["lineage"]["dataset"]) == (True, "b")


def test_the_path_of_one_that_is_not_here_is_an_error(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{missing} has no readable receipt.json" in said(capsys, "adapters", "path", "support/1", code=10)[1]
