"""A job's adapter on its way home: downloaded once, unpacked aside, made an adapter of the canonical base, moved in."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftorch.core.errors import ArtifactError
from ftorch.core.files import sha256_file, write_text
from ftorch.manifest.catalogue import canonical_id
from ftorch.providers.artifacts import REQUIRED, finish, is_whole, listed_files
from ftorch.providers.base import Artifact, FileDigest
from ftorch.providers.http import Http
from ftorch.providers.together import api
from ftorch.providers.together.archive import unpack

_CONFIG, _BASE = "adapter_config.json", "base_model_name_or_path"
_RESULT = "result.json"
_OURS = (_RESULT, "receipt.json")
_COPIES = ("__tog__ft", "-reference")
"""How the names of Together's own copies of base models end: `togethercomputer/NAME-Reference__TOG__FT`."""


def bring(http: Http, job: api.Job, dest: Path) -> Artifact:
    """Bring the adapter to `dest`. What is there whole is not fetched again, and neither is an archive that is.

    Raises ArtifactError for an archive that is damaged, hostile or of another base, and then keeps nothing of it.
    """
    if (artifact := _at_home(job, dest)) is not None:
        return artifact
    archive, aside = (dest / f".{_mark(job)}.{kind}" for kind in ("archive", "unpacked"))
    _download(http, job, archive)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        unpack(archive, aside)
        root = _root(aside)
        base_id = _normalise(root / _CONFIG, job)
    except ArtifactError:
        archive.unlink()
        shutil.rmtree(aside, ignore_errors=True)
        raise
    artifact = _moved_in(root, dest, job, base_id)
    archive.unlink()
    shutil.rmtree(aside)
    return artifact


def _at_home(job: api.Job, dest: Path) -> Artifact | None:
    """The job's adapter, where all of it has arrived before."""
    try:
        result: dict[str, Any] = json.loads((dest / _RESULT).read_text())
        files = listed_files(result)
        is_same = result["job"] == job.id
    except (OSError, ValueError, KeyError, ArtifactError):
        return None
    if not is_same or not all(is_whole(dest / name, digest) for name, digest in files.items()):
        return None
    return Artifact(dest, files, result["trained_tokens"])


def _mark(job: api.Job) -> str:
    """The job in a file's name: its own id is Together's to choose, slashes and all."""
    return hashlib.sha256(job.id.encode()).hexdigest()[:16]


def _download(http: Http, job: api.Job, archive: Path) -> None:
    if archive.exists():
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_suffix(".part")
    api.download(http, job.id, part)
    part.replace(archive)


def _root(folder: Path) -> Path:
    """Where the adapter lies in the archive: at its top, or in a folder of its own."""
    found = min(folder.rglob(_CONFIG), key=lambda path: len(path.parts), default=folder / _CONFIG)
    for name in REQUIRED:
        if not (found.parent / name).is_file():
            raise ArtifactError(f"the archive of the adapter holds no {name}", hint="look at `ftorch logs JOB`")
    return found.parent


def _normalise(path: Path, job: api.Job) -> str:
    """Let the adapter name the base by its canonical id, which is returned, in place of Together's own copy of it."""
    try:
        config = json.loads(path.read_text())
        named = config[_BASE]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"the adapter's {_CONFIG} cannot be read") from error
    if _plain(str(named)) != _plain(job.model or ""):
        raise ArtifactError(f"the adapter is for the base model {named!r}, job {job.id} has trained {job.model!r}")
    base_id = canonical_id(job.model or "")
    write_text(path, json.dumps({**config, _BASE: base_id}, indent=2) + "\n")
    return base_id


def _plain(model: str) -> str:
    """A model's name without who keeps the copy and what the copy is called for."""
    name = model.rpartition("/")[2].casefold()
    for ending in _COPIES:
        name = name.removesuffix(ending)
    return name


def _moved_in(root: Path, dest: Path, job: api.Job, base_id: str) -> Artifact:
    files = dict(_digests(root))
    for name in files:
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).replace(dest / name)
    result = {
        "version": 1,
        "status": "succeeded",
        "job": job.id,
        "base_model": {"id": base_id, "revision": None},
        "trained_tokens": job.token_count,
        "files": {name: {"sha256": digest.sha256, "bytes": digest.size} for name, digest in files.items()},
    }
    return finish(dest, files, result)


def _digests(root: Path) -> Iterator[tuple[str, FileDigest]]:
    """Together signs nothing: the hashes are of what came out of a whole archive."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in _OURS:
            yield name, FileDigest(sha256_file(path), path.stat().st_size)
