"""A bucket for tests: `bucket://NAME/...` is a folder of this machine, counts downloads, and has its faults."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

import fsspec
from fsspec.implementations.local import LocalFileSystem


class BucketFault(StrEnum):
    """What can go wrong with a download, or with any reading."""

    CUT = "cut"
    """The connection ends after half of what was left of the file."""
    DAMAGED = "damaged"
    """The last byte is another one."""
    DOWN = "down"
    DENIED = "denied"


@dataclass
class Bucket:
    """One bucket. `script` and `downloaded` are for files that are opened; small ones that are read whole pass by."""

    folder: Path
    downloaded: int = 0
    is_down: bool = False
    is_denied: bool = False
    is_missing: bool = False
    """Nobody has made it. Storages say of a file in it what they say of any file that is not there."""
    _scripts: deque[tuple[BucketFault, int | None]] = field(default_factory=deque)

    def script(self, fault: BucketFault, *, times: int | None = 1) -> None:
        self._scripts.append((fault, times))

    def clear(self) -> None:
        self._scripts.clear()
        self.is_down = self.is_denied = self.is_missing = False

    def next(self) -> BucketFault | None:
        if not self._scripts:
            return None
        fault, times = self._scripts.popleft()
        if times is None or times > 1:
            self._scripts.appendleft((fault, times and times - 1))
        return fault

    def check(self) -> None:
        if self.is_denied:
            raise PermissionError("AccessDenied: you are not authorized to perform s3:GetObject")
        if self.is_missing:
            raise FileNotFoundError("The specified bucket does not exist")
        if self.is_down:
            raise ConnectionError("the bucket does not answer")


class BucketFileSystem(LocalFileSystem):  # type: ignore[misc]  # untyped library
    """What fsspec finds under `bucket://`."""

    protocol = "bucket"
    cachable = False
    buckets: ClassVar[dict[str, Bucket]] = {}

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = str(path)
        if not text.startswith("bucket://"):
            return text.rstrip("/")
        name, _, rest = text.removeprefix("bucket://").partition("/")
        return str(cls.buckets[name].folder / rest).rstrip("/")

    def cat_file(self, path: str, *_: Any, **__: Any) -> bytes:
        self._bucket(path).check()
        return Path(path).read_bytes()

    def exists(self, path: Any, **_: Any) -> bool:
        """As s3fs has it: whatever fails is a no."""
        stripped = self._strip_protocol(path)
        try:
            self._bucket(stripped).check()
        except OSError:
            return False
        return Path(stripped).exists()

    def ls(self, path: Any, *_: Any, **__: Any) -> Any:
        stripped = self._strip_protocol(path)
        self._bucket(stripped).check()
        return super().ls(stripped)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        opened = super()._open(path, mode, block_size, **options)
        bucket = self._bucket(path)
        bucket.check()
        return _Download(opened, bucket, bucket.next()) if mode == "rb" else opened

    def _bucket(self, path: str) -> Bucket:
        return next(bucket for bucket in self.buckets.values() if Path(path).is_relative_to(bucket.folder))


class _Download:
    """A file that is read once, with what goes wrong meanwhile."""

    def __init__(self, opened: Any, bucket: Bucket, fault: BucketFault | None) -> None:
        self._opened = opened
        self._bucket = bucket
        self._fault = fault
        self.size: int = opened.size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def seek(self, place: int) -> None:
        self._opened.seek(place)

    def read(self, size: int) -> bytes:
        if self._fault is BucketFault.DOWN:
            raise ConnectionError("the bucket does not answer")
        if self._fault is BucketFault.CUT:
            self._fault = BucketFault.DOWN
            size = (self.size - self._opened.tell()) // 2
        content: bytes = self._opened.read(size) if size else b""
        if content and self._fault is BucketFault.DAMAGED and self._opened.tell() == self.size:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if not content and self._fault is BucketFault.DOWN:
            raise ConnectionError("the bucket does not answer")
        self._bucket.downloaded += len(content)
        return content


def open_bucket(name: str, folder: Path) -> Bucket:
    """A fresh bucket under `bucket://NAME`."""
    folder.mkdir(parents=True, exist_ok=True)
    fsspec.register_implementation("bucket", BucketFileSystem, clobber=True)
    made = BucketFileSystem.buckets[name] = Bucket(folder)
    return made
