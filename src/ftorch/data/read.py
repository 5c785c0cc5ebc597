"""Reading a file once, line by line. Files that are no text at all are refused here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ftorch.core.errors import DataError, Fault
from ftorch.core.suggest import did_you_mean

# Measured: lines taken one by one from a buffer that fits the cache cost half the CPU of 4 MiB blocks that are split.
_BUFFER = 256 << 10
_LONGEST_LINE = 64 << 20
_SUFFIXES = (".jsonl", ".ndjson", ".csv")
_NOT_TEXT = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip or Excel",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}
_WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

BOM = b"\xef\xbb\xbf"

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all, now and then."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of rows. `name` is how the manifest writes it, `key` where the manifest names it."""

    path: Path
    name: str
    key: str

    @property
    def is_table(self) -> bool:
        return self.path.suffix.lower() == ".csv"

    def fault(self, message: str, *, hint: str | None = None) -> DataError:
        """The error for a file that cannot be used at all."""
        return DataError([Fault(message, file=self.name, key=self.key, hint=hint)])

    def check(self) -> None:
        """Raise DataError unless this is a text file with a suffix that ftorch reads."""
        if not self.path.is_file():
            what = "a folder, not a file" if self.path.is_dir() else "no such file"
            raise self.fault(what + _neighbour(self.path), hint=f"{self.key} is read relative to the manifest's folder")
        try:
            with self.path.open("rb") as stream:
                head = stream.read(8192)
        except OSError as error:
            raise self.fault(f"cannot be read: {error.strerror}") from error
        self._check_head(head)

    def _check_head(self, head: bytes) -> None:
        suffix = self.path.suffix
        for start, name in _NOT_TEXT.items():
            if head.startswith(start):
                raise self.fault(f"is a {name} file, not text", hint="unpack or export it to .jsonl or .csv")
        for start, name in _WIDE.items():
            if head.startswith(start):
                raise self.fault(f"is written in {name}", hint="save it as UTF-8")
        if suffix.lower() not in _SUFFIXES:
            raise self.fault(
                f"{suffix or 'no suffix'}: ftorch reads {', '.join(_SUFFIXES)}", hint=_other_suffix(suffix)
            )
        if b"\0" in head:
            raise self.fault("is a binary file, not text", hint="export it to .jsonl or .csv")


class Reader:
    """One pass over a file. `sha256` is that of the bytes read so far: of the whole file after the last line."""

    def __init__(self, source: Source, advance: Callable[[int], None] | None = None) -> None:
        self.source = source
        self._advance = advance
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def lines(self) -> Iterator[bytes]:
        """The lines with their newlines; the last may have none. Only newlines end a line: JSON may hold U+2028.

        Raises DataError for a line that does not end, so that memory stays flat whatever the file is.
        """
        update = self._digest.update
        unreported = 0
        with self.source.path.open("rb", buffering=_BUFFER) as stream:
            while line := stream.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                    raise self.source.fault("holds a line of more than 64 MiB", hint="write one JSON object per line")
                update(line)
                unreported += len(line)
                if unreported > _BUFFER:
                    self._report(unreported)
                    unreported = 0
                yield line
        self._report(unreported)

    def _report(self, count: int) -> None:
        if self._advance:
            self._advance(count)


class Meter:
    """Adds up the bytes of several passes for one progress bar."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0

    def advance(self, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(self._done, self._total)


def _neighbour(path: Path) -> str:
    names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, names)


def _other_suffix(suffix: str) -> str:
    if suffix.lower() == ".json":
        return "write one JSON object per line into a .jsonl file: `jq -c '.[]' rows.json > rows.jsonl`"
    return "export the rows to .jsonl or .csv"
