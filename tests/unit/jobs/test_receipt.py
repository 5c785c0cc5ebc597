from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from ftorch.core.errors import ArtifactError
from ftorch.core.files import sha256_file
from ftorch.jobs.receipt import NAME, check_adapter, verify
from ftorch.jobs.safetensors import read_tensors

BASE = "builtin:tiny"


def safetensors(tensors: dict[str, tuple[list[int], bytes]]) -> bytes:
    header: dict[str, Any] = {}
    body = b""
    for name, (shape, content) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def floats(count: int, value: float = 0.5) -> bytes:
    return struct.pack(f"<{count}f", *[value] * count)


def adapter(folder: Path, *, rank: int = 2, base: str = BASE, up: float = 0.5) -> Path:
    """A small adapter folder with a receipt that fits it."""
    folder.mkdir(exist_ok=True)
    tensors = {
        "m.q.lora_A.weight": ([rank, 4], floats(rank * 4)),
        "m.q.lora_B.weight": ([4, rank], floats(4 * rank, up)),
    }
    (folder / "adapter_model.safetensors").write_bytes(safetensors(tensors))
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "base_model_name_or_path": base}))
    receipt: dict[str, Any] = {"base_model": {"id": BASE, "revision": None}, "rank": 2, "job": "j", "name": "n"}
    files = ("adapter_config.json", "adapter_model.safetensors")
    receipt["files"] = {
        name: {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size} for name in files
    }
    receipt["tensors"] = {"lora_pairs": 1, "learned_pairs": 1, "parameters": 16}
    (folder / NAME).write_text(json.dumps(receipt))
    return folder


def test_a_whole_adapter_is_verified_offline(tmp_path: Path) -> None:
    receipt = verify(adapter(tmp_path / "a"))

    assert receipt["tensors"] == {"lora_pairs": 1, "learned_pairs": 1, "parameters": 16}


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_changed_byte_is_found(tmp_path: Path, name: str) -> None:
    folder = adapter(tmp_path / "a")
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        verify(folder)


def test_a_cut_file_is_found_by_its_length(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    content = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(content[:-4])

    with pytest.raises(ArtifactError, match="its receipt says"):
        verify(folder)


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / "adapter_config.json").unlink()

    with pytest.raises(ArtifactError, match="missing"):
        verify(folder)


def test_a_folder_without_a_receipt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no readable receipt"):
        verify(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"up": 0.0}, "every lora_B is zero"), ({"rank": 3}, "rank 3"), ({"base": "other/model"}, "names the base model")],
)
def test_an_adapter_that_is_not_the_one_ordered_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    folder = adapter(tmp_path / "a", **changes)

    with pytest.raises(ArtifactError, match=words):
        check_adapter(folder, {"base_model": {"id": BASE}, "rank": 2})


def test_a_tensor_that_ends_behind_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors({"x": ([4], floats(4))})[:-1])

    with pytest.raises(ArtifactError, match="cut short"):
        read_tensors(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"PK\x03\x04 a zip file, say")

    with pytest.raises(ArtifactError, match="not a safetensors file"):
        read_tensors(path)
