"""Archives from the network: a tar, packed with zstd or gzip or not at all, told by its first bytes.

Nothing in it is believed. Only plain files below the target are written, none through a link, and not more bytes than
an adapter of that size can have.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol

import zstandard

from ftorch.core.errors import ArtifactError
from ftorch.core.files import translated

_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_TAR, _TAR_AT = b"ustar", 257
_BLOCK = 1 << 20
_SIP = 2048
"""So little packed at once: even zeros become no more than 64 MiB of it."""
_END = 1024
"""A tar ends in so many zeros at least; without them it was cut between two files."""
_MOST_FILES = 1000
_RATIO, _ALWAYS = 20, 64 << 20
"""Weights hardly shrink: what becomes much more than it was is no adapter."""
_AGAIN = "it is fetched again by itself; `ftorch logs JOB` shows whether the job has saved it whole"
_DAMAGED = (tarfile.TarError, zstandard.ZstdError, gzip.BadGzipFile, zlib.error, EOFError)


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def unpack(archive: Path, folder: Path) -> None:
    """Write the archive's files into a folder. Raises ArtifactError for one that is damaged, cut short or hostile."""
    allowed = max(_RATIO * archive.stat().st_size, _ALWAYS)
    try:
        with archive.open("rb") as packed, _plain(packed) as stream:
            reader = _Guarded(stream, allowed)
            _extract(reader, folder)
            reader.check_end()
    except _DAMAGED as error:
        raise ArtifactError(f"the archive of the adapter is damaged: {error}", hint=_AGAIN) from error


class _Guarded(io.RawIOBase):
    """Hands on what it reads, counts it, and keeps the end."""

    def __init__(self, stream: _Readable, allowed: int) -> None:
        self._stream = stream
        self._allowed = allowed
        self._count = 0
        self._tail = b""

    def read(self, size: int = -1, /) -> bytes:
        block = self._stream.read(min(size, _BLOCK) if size >= 0 else _BLOCK)
        self._count += len(block)
        if self._count > self._allowed:
            raise ArtifactError(f"the archive of the adapter grows beyond {self._allowed:,} bytes: it is no adapter")
        self._tail = (self._tail + block)[-_END:]
        return block

    def check_end(self) -> None:
        """Raises ArtifactError unless the archive ends as a whole one does. Reads it to its last byte."""
        while self.read():
            pass
        if len(self._tail) < _END or self._tail.strip(b"\0"):
            raise ArtifactError("the archive of the adapter is cut short", hint=_AGAIN)


class _Zstd(io.RawIOBase):
    """zstandard's own reader ends without a word where its input is cut; this one raises EOFError."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._waiting = io.BytesIO()

    def read(self, size: int = -1, /) -> bytes:
        while not (block := self._waiting.read(size)) and (sip := self._sip()):
            self._waiting = io.BytesIO(self._frame.decompress(sip))
        return block

    def _sip(self) -> bytes:
        """The next packed bytes; behind a frame another one may follow."""
        sip = (self._frame.unused_data if self._frame.eof else b"") or self._packed.read(_SIP)
        if self._frame.eof and sip:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        elif not sip and not self._frame.eof:
            raise EOFError("it is cut short")
        return sip


@contextmanager
def _plain(packed: BinaryIO) -> Iterator[_Readable]:
    """The tar inside."""
    head = packed.read(_TAR_AT + len(_TAR))
    packed.seek(0)
    if head.startswith(_ZSTD):
        yield _Zstd(packed)
    elif head.startswith(_GZIP):
        with gzip.GzipFile(fileobj=packed) as unzipped:
            yield unzipped
    elif head[_TAR_AT:] == _TAR:
        yield packed
    else:
        raise ArtifactError("the archive of the adapter is neither zstd, gzip nor tar", hint=_AGAIN)


def _extract(stream: _Guarded, folder: Path) -> None:
    written: set[PurePosixPath] = set()
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isdir():
                continue
            name = _safe(member)
            if name in written or len(written) >= _MOST_FILES:
                raise ArtifactError(f"the archive of the adapter holds {str(name)!r} twice, or too many files")
            written.add(name)
            content = archive.extractfile(member)
            assert content is not None, "a plain file has content"
            _write(content, folder / name)


def _safe(member: tarfile.TarInfo) -> PurePosixPath:
    """Where the file goes below the folder. Raises ArtifactError for everything but a plain file that lies there."""
    name = PurePosixPath(member.name)
    if not member.isfile():
        raise ArtifactError(f"the archive of the adapter holds {member.name!r}, which is no plain file")
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name or not name.parts:
        raise ArtifactError(f"the archive of the adapter holds {member.name!r}, which points outside of its folder")
    return name


def _write(content: IO[bytes], path: Path) -> None:
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as target:
            shutil.copyfileobj(content, target, _BLOCK)
