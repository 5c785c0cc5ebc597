"""The core in a fresh environment: small, and honest about what it cannot do without the training packages."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest

from bench.run import size_mb
from e2e.shell import ROOT, Shell, furnish

_LONGEST_S = 300.0


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The environment's folder, and by how many MB the core made it grow."""
    folder = tmp_path_factory.mktemp("core") / "venv"
    venv.create(folder, with_pip=True)
    before = size_mb(folder)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(ROOT)]
    # Bytecode is part of it, whatever the surroundings have asked pip for.
    env = {name: value for name, value in os.environ.items() if name != "PIP_NO_COMPILE"}
    subprocess.run(pip, check=True, timeout=_LONGEST_S, env=env)
    return folder, size_mb(folder) - before


@pytest.mark.timeout(_LONGEST_S)
def test_the_core_is_small(core: tuple[Path, float]) -> None:
    folder, grown = core
    listed = subprocess.run(
        [str(folder / "bin" / "python"), "-m", "pip", "list", "--format=freeze"],
        check=True,
        capture_output=True,
        text=True,
    )
    ours = [line for line in listed.stdout.splitlines() if line.partition("==")[0] not in ("pip", "setuptools")]

    print(f"core install: {grown:.1f} MB, {len(ours)} distributions")
    assert grown <= 40
    assert len(ours) <= 25


def test_a_missing_extra_names_the_command_that_installs_it(core: tuple[Path, float], tmp_path: Path) -> None:
    shell = furnish(tmp_path)

    done = _run(core[0], shell, "submit", "job.yaml")

    assert done.returncode == 2
    assert "pip install -e '.[train]'" in done.stderr
    assert shell.jobs_in_database() == 0


def test_everything_but_training_works_without_the_extra(core: tuple[Path, float], tmp_path: Path) -> None:
    shell = furnish(tmp_path)

    codes = {words: _run(core[0], shell, *words).returncode for words in (("plan", "job.yaml"), ("jobs",), ("doctor",))}

    assert set(codes.values()) == {0}, codes


def test_providers_without_the_extra_say_missing_extra(core: tuple[Path, float], tmp_path: Path) -> None:
    shell = furnish(tmp_path)

    done = _run(core[0], shell, "providers")

    assert "missing extra" in done.stdout
    assert "pip install -e '.[train]'" in done.stderr


def _run(folder: Path, shell: Shell, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(folder / "bin" / "ftorch"), *words]
    return subprocess.run(
        command, cwd=shell.folder, env=shell.environment(), capture_output=True, text=True, check=False, timeout=60
    )
