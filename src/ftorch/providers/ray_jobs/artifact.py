"""The adapter on its way home, whatever holds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftorch.core.errors import ArtifactError, RunNotFoundError
from ftorch.core.files import translated
from ftorch.providers import output
from ftorch.providers.artifacts import finish, is_whole, listed_files
from ftorch.providers.base import Artifact, FileDigest
from ftorch.providers.ray_jobs.files import RunFiles


def fetch(files: RunFiles, key: str, dest: Path, provider: str) -> Artifact:
    """Download what is missing in `dest`, file by file. Raises ArtifactError for a file that is not the trainer's."""
    text = files.read(output.RESULT)
    if text is None:
        raise RunNotFoundError(f"run {key} has no result at {provider}", provider=provider, operation="fetch")
    result = _parsed(text, key)
    listed = listed_files(result)
    for name, digest in listed.items():
        if not is_whole(dest / name, digest):
            _download(files, name, digest, dest)
    return finish(dest, listed, result)


def _download(files: RunFiles, name: str, digest: FileDigest, dest: Path) -> None:
    part = dest / f"{name}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    with translated(part):
        files.download(f"{output.ADAPTER}/{name}", part)
    if not is_whole(part, digest):
        part.unlink(missing_ok=True)
        raise ArtifactError(
            f"{name} did not arrive as the trainer wrote it: its length or SHA-256 differs",
            hint="run `ftorch wait JOB` to fetch it again",
        )
    part.replace(dest / name)


def _parsed(text: bytes, key: str) -> dict[str, Any]:
    try:
        result = json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"the result of run {key} did not arrive as the trainer wrote it") from error
    if not isinstance(result, dict) or not isinstance(result.get("files"), dict):
        raise ArtifactError(f"the result of run {key} is not what the trainer writes")
    return result
