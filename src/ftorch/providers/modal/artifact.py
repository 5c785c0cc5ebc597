"""The adapter on its way home from the Volume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftorch.core.errors import ArtifactError, RunNotFoundError
from ftorch.providers import output
from ftorch.providers.artifacts import finish, is_whole, listed_files
from ftorch.providers.base import Artifact
from ftorch.providers.modal.names import out_folder
from ftorch.providers.modal.volume import Files


def fetch(files: Files, key: str, dest: Path) -> Artifact:
    """Download what is missing in `dest`, file by file. Raises ArtifactError for a file that is not the trainer's."""
    text = files.read(f"{out_folder(key)}/{output.RESULT}", "fetch")
    if text is None:
        raise RunNotFoundError(f"run {key} has no result at modal", provider="modal", operation="fetch")
    result = _parsed(text, key)
    listed = listed_files(result)
    for name, digest in listed.items():
        if not is_whole(dest / name, digest):
            files.download(f"{out_folder(key)}/{output.ADAPTER}/{name}", dest / name, digest, "fetch")
    return finish(dest, listed, result)


def _parsed(text: str, key: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"the result of run {key} did not arrive as the trainer wrote it") from error
    return result
