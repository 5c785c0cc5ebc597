from __future__ import annotations

import hashlib
import os
import re
import zipfile
from pathlib import Path

import pytest

from contract.rows import plan_with_rows
from ftorch.core.errors import RunRejectedError
from ftorch.providers.base import Bundle
from ftorch.providers.ray_jobs import package as packing
from ftorch.providers.ray_jobs.package import Layout, content_sha256, package, requirements


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return plan_with_rows(tmp_path / "dataset")[1]


def test_the_same_content_gives_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    first = package(bundle, tmp_path / "a", provider="ray")
    os.utime(bundle.folder / "train.jsonl", (1, 1))

    second = package(bundle, tmp_path / "b", provider="ray")

    assert first.path.read_bytes() == second.path.read_bytes()
    assert (first.sha256, first.path.name) == (content_sha256(bundle), f"{first.sha256}.zip")


def test_another_bundle_has_another_name(bundle: Bundle) -> None:
    other = Bundle(bundle.folder, "f" * 64, bundle.files)

    assert content_sha256(other) != content_sha256(bundle)


def test_other_code_has_another_name(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_sha256(bundle)
    code = packing._code()
    monkeypatch.setattr(packing, "_code", lambda: {**code, "ftorch/trainer/train.py": b"pass"})

    assert content_sha256(bundle) != before


def test_the_package_holds_the_bundle_the_trainer_and_the_runner(bundle: Bundle, tmp_path: Path) -> None:
    with zipfile.ZipFile(package(bundle, tmp_path, provider="ray").path) as archive:
        names = set(archive.namelist())
        rows = archive.read("bundle/train.jsonl")

    assert hashlib.sha256(rows).hexdigest() == bundle.files["train.jsonl"]
    assert {"bundle/job.json", "ftorch/trainer/__main__.py", "ftorch/providers/ray_jobs/inside/runner.py"} <= names
    assert "requirements.txt" in names


def test_no_held_out_row_and_nothing_else_of_ours_travels(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.folder / "held_out.jsonl").write_text("{}")

    with zipfile.ZipFile(package(bundle, tmp_path, provider="ray").path) as archive:
        ours = [name for name in archive.namelist() if not name.startswith(("bundle/", "ftorch/trainer/"))]

    assert "bundle/held_out.jsonl" not in ours
    assert [name for name in ours if not name.startswith("ftorch/providers/ray_jobs/inside/")] == [
        "ftorch/__init__.py",
        "ftorch/providers/__init__.py",
        "ftorch/providers/ray_jobs/__init__.py",
        "requirements.txt",
    ]


def test_one_top_folder_holds_all_where_that_is_wanted(bundle: Bundle, tmp_path: Path) -> None:
    packed = package(bundle, tmp_path, provider="anyscale", layout=Layout.ONE_TOP_FOLDER)

    with zipfile.ZipFile(packed.path) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"ftorch-job"}


def test_both_layouts_lie_beside_each_other(bundle: Bundle, tmp_path: Path) -> None:
    flat = package(bundle, tmp_path, provider="ray")
    top = package(bundle, tmp_path, provider="anyscale", layout=Layout.ONE_TOP_FOLDER)

    assert (flat.sha256, flat.path != top.path) == (top.sha256, True)


def test_a_package_too_large_is_refused_and_its_largest_files_are_named(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "MOST_BYTES", 1 << 20)
    (bundle.folder / "start-adapter").mkdir()
    for name, size in (("adapter_model.safetensors", 2 << 20), ("tokenizer.json", 1 << 19)):
        (bundle.folder / "start-adapter" / name).write_bytes(os.urandom(size))
    files = {**bundle.files, "start-adapter/adapter_model.safetensors": "a", "start-adapter/tokenizer.json": "b"}

    with pytest.raises(RunRejectedError) as caught:
        package(Bundle(bundle.folder, "e" * 64, files), tmp_path / "packages", provider="ray")

    assert "has 2.6 MiB, ray takes 1.0 MiB" in caught.value.message
    assert "largest: start-adapter/adapter_model.safetensors (2.0 MiB), start-adapter/tokenizer.json (0.5 MiB)" in (
        caught.value.message
    )
    assert caught.value.hint
    assert not list((tmp_path / "packages").iterdir())


def test_the_limit_stays_below_what_the_dashboard_takes() -> None:
    assert packing.MOST_BYTES == 95 * 1024 * 1024 < 100 * 1024 * 1024


def test_what_the_trainer_needs_is_what_the_extra_declares() -> None:
    assert {"trl", "peft"} <= {re.split("[<>]", line)[0] for line in requirements()}
