"""Base models on this machine: built from a package, found in a folder, or fetched from the Hub."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ftorch.trainer.errors import BaseModelError, SpecError, did_you_mean
from ftorch.trainer.files import move_into_place, read_object, sha256_file, write_object
from ftorch.trainer.spec import BaseModel

BUILTIN = "builtin:"
SMOLLM2_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_NOTE = "base.json"
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_WANTED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A base model that is ready to load."""

    id: str
    path: str
    revision: str | None
    sha256: str
    """Of model.safetensors; of the list of names and hashes where there are several."""


def prepare(name: str, cache: Path, revision: str | None) -> Prepared:
    """Make a base model ready. A second call finds it; a call at the same time waits for the first."""
    if name.startswith(BUILTIN):
        return _builtin(name, cache)
    if Path(name).is_absolute():
        return _described(name, Path(name), revision)
    return _from_hub(name, revision)


@dataclass(frozen=True, slots=True)
class Located:
    """Where a run loads its base model from, and which commit that is when the Hub knows."""

    path: Path
    revision: str | None


def locate(base: BaseModel) -> Located:
    """The folder that a spec's base model is loaded from. Raises BaseModelError when it cannot be had."""
    if base.path is not None:
        _check_folder(Path(base.path))
        return Located(Path(base.path), base.revision)
    if base.id.startswith(BUILTIN):
        raise SpecError(
            "base_model.path: missing", hint=f"run `python -m ftorch.trainer prepare {base.id} --cache DIR` first"
        )
    folder = _snapshot(base.id, base.revision)
    return Located(folder, base.revision or folder.name)


def build_once(folder: Path, canonical_id: str, build: Callable[[Path], None]) -> Prepared:
    """Build a base model into `folder`, unless it is there. Built aside: the folder is whole or absent."""
    if ready := _noted(folder):
        return ready
    with _alone(folder):
        if ready := _noted(folder):
            return ready
        aside = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        build(aside)
        note = Prepared(canonical_id, str(folder), None, weights_sha256(aside))
        write_object(aside / _NOTE, asdict(note))
        move_into_place(aside, folder)
        return note


def weights_sha256(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return _file_sha256(files[0])
    listing = "".join(f"{_file_sha256(path)}  {path.name}\n" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def canonical_id(base_id: str) -> str:
    """The name under which others know a base model."""
    return _BUILTINS[base_id][0] if base_id in _BUILTINS else base_id


def _builtin(name: str, cache: Path) -> Prepared:
    if name not in _BUILTINS:
        raise BaseModelError(f"{name!r} is not built in{did_you_mean(name, _BUILTINS)}")
    canonical, build = _BUILTINS[name]
    return build_once(cache.expanduser().absolute() / name.removeprefix(BUILTIN), canonical, build)


def _build_tiny(folder: Path) -> None:
    from ftorch.trainer import tiny

    tiny.build(folder)


def _build_smollm2(folder: Path) -> None:
    from ftorch.trainer import smollm2

    smollm2.build(folder)


_BUILTINS: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "builtin:tiny": ("builtin:tiny", _build_tiny),
    "builtin:smollm2-135m": (SMOLLM2_ID, _build_smollm2),
}


def _noted(folder: Path) -> Prepared | None:
    note = read_object(folder / _NOTE)
    # The cache may have been moved: where it lies now is what counts.
    return Prepared(**{**note, "path": str(folder)}) if note else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _described(name: str, folder: Path, revision: str | None) -> Prepared:
    _check_folder(folder)
    return Prepared(name, str(folder), revision, weights_sha256(folder))


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise BaseModelError(f"{folder} is no base model: it needs config.json and *.safetensors")


def _from_hub(name: str, revision: str | None) -> Prepared:
    folder = _snapshot(name, revision)
    return _described(name, folder, folder.name)


def _snapshot(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    def fetch(*, offline: bool) -> Path:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED, local_files_only=offline))

    try:
        return fetch(offline=True)
    except (OSError, HFValidationError):
        pass  # not in the cache, or not all of it
    try:
        return fetch(offline=False)
    except GatedRepoError as error:
        raise BaseModelError(f"the Hub gates {name!r}", hint="accept its licence there and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise BaseModelError(f"the Hub knows {name!r}, but no revision {revision!r}") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise BaseModelError(
            f"the Hub knows no model {name!r}", hint="check the id; private ones need HF_TOKEN"
        ) from error
    except OSError as error:
        raise BaseModelError(f"{name!r} is not in the cache and the Hub cannot be reached") from error


def _file_sha256(path: Path) -> str:
    # The Hub's cache names its files by their hash: a 16 GB model need not be read to know it.
    target = path.resolve().name
    return target if path.is_symlink() and _SHA256.match(target) else sha256_file(path)
