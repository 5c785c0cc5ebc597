"""The one file that travels: bundle, trainer and runner as a zip, named by its content."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path

from ftorch.core.errors import RunRejectedError
from ftorch.core.files import replacing
from ftorch.providers.base import Bundle

MOST_BYTES = 95 << 20
"""Ray's dashboard refuses a request body above 100 MiB, with a bare 413."""
REQUIREMENTS = "requirements.txt"
TOP = "ftorch-job"
_LONG_AGO = (2020, 1, 1, 0, 0, 0)
_EXTRA = "extra == 'train'"
_NAMED = 10
_MADE_OF = ("trainer", "providers/ray_jobs/inside")
_EMPTY = ("__init__.py", "providers/__init__.py", "providers/ray_jobs/__init__.py")


class Layout(StrEnum):
    """How the files lie in the zip: Ray wants them at its root, Anyscale in one folder."""

    FLAT = ""
    ONE_TOP_FOLDER = f"{TOP}/"


@dataclass(frozen=True, slots=True)
class Package:
    """A package on this machine. `sha256` is that of its content: the same bundle and code give the same."""

    path: Path
    sha256: str
    size: int


def content_sha256(bundle: Bundle) -> str:
    """The identity of what travels, without packing it."""
    code = "".join(f"{name}\0{hashlib.sha256(content).hexdigest()}\n" for name, content in _code().items())
    return hashlib.sha256(f"{bundle.sha256}\n{code}".encode()).hexdigest()


def package(bundle: Bundle, folder: Path, *, provider: str, layout: Layout = Layout.FLAT) -> Package:
    """Pack it into `folder`, unless it lies there. One too large is a RunRejectedError that names its largest files."""
    sha256 = content_sha256(bundle)
    path = folder / f"{sha256}{'-top' if layout else ''}.zip"
    if not path.exists():
        with replacing(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            _pack(archive, bundle, layout)
    size = path.stat().st_size
    if size > MOST_BYTES:
        largest = _largest(path, layout)
        path.unlink()
        raise RunRejectedError(
            f"the job's package has {_mib(size)}, {provider} takes {_mib(MOST_BYTES)}; largest: {', '.join(largest)}",
            provider=provider,
            operation="stage",
            hint="train on fewer rows, or start from an adapter of a lower rank",
        )
    return Package(path, sha256, size)


def requirements() -> Sequence[str]:
    """What the trainer needs, as our own package declares it."""
    lines = [line.partition(";") for line in requires("ftorch") or ()]
    return [name.strip() for name, _, marker in lines if marker.strip().replace('"', "'") == _EXTRA]


def _pack(archive: zipfile.ZipFile, bundle: Bundle, layout: Layout) -> None:
    """The same content gives the same bytes."""
    ours = {f"bundle/{name}": bundle.folder / name for name in bundle.files}
    for name in sorted({*ours, *_code()}):
        entry = zipfile.ZipInfo(f"{layout}{name}", _LONG_AGO)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, ours[name].read_bytes() if name in ours else _code()[name])


@cache
def _code() -> Mapping[str, bytes]:
    ours = files("ftorch")
    found = {f"ftorch/{name}": b"" for name in _EMPTY}
    for folder in _MADE_OF:
        modules = [entry for entry in (ours / folder).iterdir() if entry.name.endswith(".py")]
        found |= {f"ftorch/{folder}/{entry.name}": entry.read_bytes() for entry in modules}
    found[REQUIREMENTS] = "".join(f"{line}\n" for line in requirements()).encode()
    return dict(sorted(found.items()))


def _largest(path: Path, layout: Layout) -> list[str]:
    """Of the bundle: of our own code nobody can spare any."""
    start = f"{layout}bundle/"
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.startswith(start)]
    entries.sort(key=lambda entry: -entry.compress_size)
    return [f"{entry.filename.removeprefix(start)} ({_mib(entry.compress_size)})" for entry in entries[:_NAMED]]


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
