"""What travels with every run."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from ftorch.core.paths import Home
from ftorch.providers.base import Bundle
from ftorch.providers.ssh.load import REQUIREMENTS, RUNNER, TRAINER, load, requirements


def bundle(folder: Path) -> Bundle:
    (folder / "job.json").write_text("{}")
    sha256 = hashlib.sha256(b"{}").hexdigest()
    return Bundle(folder, "b" * 64, {"job.json": sha256})


def test_everything_is_named_by_its_content(tmp_path: Path) -> None:
    found = load(bundle(tmp_path), Home(tmp_path / "home"))

    assert set(found.files) == {"job.json", TRAINER, RUNNER, REQUIREMENTS}
    for sha256, path in found.paths.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    assert load(bundle(tmp_path), Home(tmp_path / "a")).files == load(bundle(tmp_path), Home(tmp_path / "b")).files


def test_the_trainer_runs_from_the_zip_alone(tmp_path: Path) -> None:
    found = load(bundle(tmp_path), Home(tmp_path / "home"))
    archive = found.paths[found.files[TRAINER]]
    command = [
        sys.executable,
        "-I",
        "-c",
        f"import sys; sys.path.insert(0, {str(archive)!r}); import ftorch.trainer as t;",
    ]
    command[-1] += "print(t.__file__)"

    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)

    assert str(archive) in done.stdout
    names = zipfile.ZipFile(archive).namelist()
    assert all(name == "ftorch/__init__.py" or name.startswith("ftorch/trainer/") for name in names)


def test_the_packages_are_those_of_our_own_extra() -> None:
    names = {re.split(r"[<>=]", line)[0] for line in requirements()}

    assert {"torch", "trl", "peft", "transformers"} <= names
    assert not [line for line in requirements() if ";" in line]
