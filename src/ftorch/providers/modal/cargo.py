"""The code that travels: the trainer as a zip and the runner beside it, named by their content."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_WHEN = (2026, 1, 1, 0, 0, 0)
_TRAINER = "ftorch/trainer"


@cache
def cargo() -> tuple[str, Mapping[str, bytes]]:
    """The SHA-256 over all of it, and the files by name. The same source gives the same bytes."""
    contents = {
        "trainer.zip": _zip({"ftorch/__init__.py": b"", **_sources(files("ftorch") / "trainer", _TRAINER)}),
        "runner.py": (files("ftorch.providers.modal") / "runner.py").read_bytes(),
    }
    digest = hashlib.sha256(b"".join(contents[name] for name in sorted(contents))).hexdigest()
    return digest, contents


def _sources(folder: Traversable, name: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_file() and not entry.name.endswith(".pyc"):
            found[f"{name}/{entry.name}"] = entry.read_bytes()
    return found


def _zip(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name, _WHEN), content)
    return buffer.getvalue()
