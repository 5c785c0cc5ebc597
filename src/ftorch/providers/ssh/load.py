"""What goes to a box with every run besides the bundle: the trainer as a zip, the runner, the packages it needs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path

from ftorch.core.files import replacing
from ftorch.core.paths import Home
from ftorch.providers.base import Bundle
from ftorch.providers.ssh.box import Load

TRAINER = "trainer.zip"
RUNNER = "runner.py"
REQUIREMENTS = "requirements.txt"
_LONG_AGO = (2020, 1, 1, 0, 0, 0)
_EXTRA = "extra == 'train'"


def load(bundle: Bundle, home: Home) -> Load:
    """The bundle and what goes with it, all named by content."""
    ours = {name: _kept(content, home) for name, content in _companions().items()}
    names = {**bundle.files, **{name: path.name for name, path in ours.items()}}
    paths = {sha256: bundle.folder / name for name, sha256 in bundle.files.items()}
    return Load(names, {**paths, **{path.name: path for path in ours.values()}})


@cache
def _companions() -> dict[str, bytes]:
    return {
        TRAINER: _trainer(),
        RUNNER: (files("ftorch.providers.ssh") / "runner.py").read_bytes(),
        REQUIREMENTS: "".join(f"{line}\n" for line in requirements()).encode(),
    }


def requirements() -> list[str]:
    """What the trainer needs, as our own package declares it."""
    lines = [line.partition(";") for line in requires("ftorch") or ()]
    return [name.strip() for name, _, marker in lines if marker.strip().replace('"', "'") == _EXTRA]


def _trainer() -> bytes:
    """The package `ftorch.trainer` alone. The same sources give the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("ftorch/__init__.py", _LONG_AGO), b"")
        modules = [path for path in (files("ftorch") / "trainer").iterdir() if path.name.endswith(".py")]
        for module in sorted(modules, key=lambda path: path.name):
            archive.writestr(zipfile.ZipInfo(f"ftorch/trainer/{module.name}", _LONG_AGO), module.read_bytes())
    return packed.getvalue()


def _kept(content: bytes, home: Home) -> Path:
    """The content as a file of this machine, named by its hash."""
    path = home.root / "boxes" / "files" / hashlib.sha256(content).hexdigest()
    if not path.is_file():
        with replacing(path) as stream:
            stream.write(content)
    return path
