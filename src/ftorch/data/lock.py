"""`heldout.lock`: the hashes of every row that was ever held out, beside the dataset.

A row in it never trains again, whatever the seed or the fraction of today. Entries only grow; to start a new held-out
set a person deletes the entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from ftorch.core.errors import DataError, Fault, StoreError
from ftorch.core.files import write_text
from ftorch.data.fingerprint import to_hex

LOCK_NAME = "heldout.lock"
_VERSION = 1


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What was held out of one dataset file. Either `path` is given, or `by`, `fraction` and `seed`."""

    created: str
    dataset_sha256: str
    rows: tuple[Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")], ...]
    """Fingerprints as 16 hex digits, sorted."""
    by: str | None = None
    fraction: float | None = None
    path: str | None = None
    seed: int | None = None

    def joined(self, older: Entry | None) -> Entry:
        """This entry with all that the older one held: nothing is ever taken out."""
        if older is None:
            return self
        rows = tuple(sorted({*self.rows, *older.rows}))
        return msgspec.structs.replace(self, created=older.created, rows=rows)


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file: dataset file name -> entry."""

    version: int = _VERSION
    entries: Mapping[str, Entry] = {}

    def holders(self) -> Mapping[int, str]:
        """Every held-out fingerprint, with the name of an entry that has it."""
        return {int(row, 16): name for name, entry in self.entries.items() for row in entry.rows}

    def with_entry(self, name: str, entry: Entry) -> Lock:
        return Lock(entries={**self.entries, name: entry.joined(self.entries.get(name))})


def read_lock(folder: Path) -> Lock:
    """The lock of a folder; an empty one where there is none. Raises DataError for a file that is no lock."""
    path = folder / LOCK_NAME
    try:
        lock = msgspec.json.decode(path.read_bytes(), type=Lock)
    except FileNotFoundError:
        return Lock()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}", hint="mend the rights of the file") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    if lock.version != _VERSION:
        raise _damaged(path, f"version {lock.version}, this ftorch reads version {_VERSION}")
    return lock


def save_lock(folder: Path, lock: Lock) -> Path:
    """Write the lock, all or nothing; nothing is written where nothing changed. Raises StoreError naming the file."""
    path = folder / LOCK_NAME
    if read_lock(folder) == lock:
        return path
    text = json.dumps(msgspec.to_builtins(lock), sort_keys=True, indent=1) + "\n"
    try:
        write_text(path, text)
    except StoreError as error:
        hint = "it keeps held-out rows out of every later training; make its folder writable"
        raise StoreError(f"{path} cannot be written: {error.message}", hint=hint) from error
    return path


def to_rows(fingerprints: Iterable[int]) -> tuple[str, ...]:
    """Fingerprints as a lock holds them."""
    return tuple(sorted(map(to_hex, fingerprints)))


def _damaged(path: Path, why: str) -> DataError:
    hint = "restore it from version control; deleting it starts a new held-out set and makes old results worthless"
    return DataError([Fault(f"not a lock that ftorch wrote: {why}", file=str(path), hint=hint)])
