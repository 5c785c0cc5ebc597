"""Adapters on their way home: the list of files that the trainer signed with `result.json`, copied and checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ftorch.core.errors import ArtifactError
from ftorch.core.files import replacing, sha256_file, translated
from ftorch.providers.base import Artifact, FileDigest

REQUIRED = ("adapter_config.json", "adapter_model.safetensors")


def listed_files(result: Mapping[str, Any]) -> dict[str, FileDigest]:
    """The adapter's files as `result.json` lists them. Raises ArtifactError when the list cannot be right."""
    files = {name: FileDigest(str(entry["sha256"]), int(entry["bytes"])) for name, entry in result["files"].items()}
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ArtifactError(f"the run's result lists {name!r}, which points outside the adapter's folder")
    for name in REQUIRED:
        if name not in files:
            raise ArtifactError(f"the run's result lists no {name}", hint="run `ftorch logs JOB` to see what happened")
    return files


def copy_adapter(result_file: Path, adapter: Path, dest: Path) -> Artifact:
    """Copy an adapter from a folder on this machine. Files that already arrived whole are not copied again."""
    result = json.loads(result_file.read_text())
    files = listed_files(result)
    for name, digest in files.items():
        if not is_whole(dest / name, digest):
            _copy(adapter / name, dest / name)
    return finish(dest, files, result)


def is_whole(path: Path, digest: FileDigest) -> bool:
    """True when the file is there with the size and the SHA-256 it should have."""
    return path.is_file() and path.stat().st_size == digest.size and sha256_file(path) == digest.sha256


def finish(dest: Path, files: Mapping[str, FileDigest], result: Mapping[str, Any]) -> Artifact:
    """Check every file once more where it lies now, and keep the trainer's result beside them."""
    for name, digest in files.items():
        if not is_whole(dest / name, digest):
            raise ArtifactError(
                f"{name} did not arrive as the trainer wrote it: its length or SHA-256 differs",
                hint="run `ftorch wait JOB` to fetch it again",
            )
    with replacing(dest / "result.json") as stream:
        stream.write(json.dumps(result, indent=1, sort_keys=True).encode())
    return Artifact(folder=dest, files=files, trained_tokens=result.get("trained_tokens"))


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise ArtifactError(f"the run's folder has lost {source.name}", hint=f"look into {source.parent}")
    with translated(target), source.open("rb") as reading, replacing(target) as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
