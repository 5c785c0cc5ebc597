"""Datasets that lie elsewhere: any URL that fsspec opens is brought here whole, and its content is what counts.

The copy has a folder of its own by its URL, so that `heldout.lock` stays beside it whatever comes of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ftorch.core.errors import DataError, Fault, MissingExtraError, NotFinishedError, UsageError
from ftorch.core.files import replacing
from ftorch.core.paths import Home
from ftorch.manifest.schema import Dataset, HeldOutFile

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BLOCK = 1 << 20
_NOT_FOUND = 404


def is_remote(path: str) -> bool:
    """A URL, and no path beside the manifest."""
    return bool(_URL.match(path))


def brought(dataset: Dataset, home: Home) -> Dataset:
    """The same dataset with every URL replaced by its copy here, read anew; local paths stay as they are.

    Raises DataError for a file that is not there, MissingExtraError or UsageError where a package is missing,
    NotFinishedError for what may be there later.
    """
    changes: dict[str, object] = {}
    if is_remote(dataset.path):
        changes["path"] = str(_bring(dataset.path, home, "dataset.path"))
    for key in ("held_out", "validation"):
        asked = getattr(dataset, key)
        if isinstance(asked, HeldOutFile) and is_remote(asked.path):
            changes[key] = HeldOutFile(path=str(_bring(asked.path, home, f"dataset.{key}.path")))
    return dataset.model_copy(update=changes) if changes else dataset


def named(path: str) -> str:
    """A dataset as people are shown it: a path as it is, a URL without its secrets."""
    return shown(path) if is_remote(path) else path


def shown(url: str) -> str:
    """A URL without what may be a secret in it: user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _bring(url: str, home: Home, key: str) -> Path:
    name = PurePosixPath(urlsplit(url).path).name
    if not name:
        raise DataError([Fault("names no file", file=shown(url), key=key, hint="give the URL of a .jsonl or .csv")])
    copy = home.datasets / "remote" / sha256(url.encode()).hexdigest()[:16] / name
    with _translated(url, key), _fsspec().open(url, "rb") as source, replacing(copy) as target:
        while block := source.read(_BLOCK):
            target.write(block)
    return copy


def _fsspec() -> Any:
    try:
        return import_module("fsspec")
    except ImportError as error:
        raise MissingExtraError("a dataset at a URL", extra="remote") from error


@contextmanager
def _translated(url: str, key: str) -> Iterator[None]:
    """What fsspec and a hundred packages behind it raise, in words. Nobody can list their errors."""
    try:
        yield
    except (DataError, MissingExtraError):
        raise
    except FileNotFoundError as error:
        # Over HTTP that is also what it says of a server that does not answer; its cause knows better.
        cause = error.__cause__
        if cause is not None and not isinstance(cause, FileNotFoundError) and getattr(cause, "status", 0) != _NOT_FOUND:
            raise _later(url, cause) from error
        raise DataError([Fault("no such file", file=shown(url), key=key)]) from error
    except ImportError as error:
        raise UsageError(f"{shown(url)} needs a package of its own: {error}", hint="install what it names") from error
    except ValueError as error:
        raise DataError([Fault(f"cannot be opened: {error}", file=shown(url), key=key)]) from error
    except Exception as error:
        raise _later(url, error) from error


def _later(url: str, error: BaseException) -> NotFinishedError:
    words = f"{shown(url)} cannot be read now: {type(error).__name__}"
    return NotFinishedError(words, hint="see that its storage can be reached, and that its keys are set")
