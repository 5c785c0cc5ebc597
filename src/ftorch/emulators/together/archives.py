"""The archive that an adapter is downloaded as, and archives that nobody should trust. For tests of those who fetch."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping

import zstandard

_CONFIG = "adapter_config.json"
_FILE_MODE = 0o644


def pack(files: Mapping[str, bytes]) -> bytes:
    """tar.zst with a checksum, as the service's tools make it; the same files give the same bytes."""
    return _compressed(tar(files))


def pack_as_gzip(files: Mapping[str, bytes]) -> bytes:
    """The same as tar.gz, which the SDK is also prepared for."""
    return gzip.compress(tar(files), mtime=0)


def tar(files: Mapping[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """A plain tar of the files and of members without content."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), _FILE_MODE
            archive.addfile(member, io.BytesIO(content))
        for member in more:
            archive.addfile(member)
    return target.getvalue()


def unpack(content: bytes) -> dict[str, bytes]:
    """The files of an archive that `pack` made."""
    whole = zstandard.ZstdDecompressor().decompress(content)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        members = [(member.name, archive.extractfile(member)) for member in archive.getmembers()]
    return {name: stream.read() for name, stream in members if stream}


def with_traversal(files: Mapping[str, bytes]) -> bytes:
    """One member would be written two folders up."""
    return pack({**files, "../../escaped.txt": b"outside"})


def with_absolute_path(files: Mapping[str, bytes]) -> bytes:
    return pack({**files, "/tmp/escaped.txt": b"outside"})  # noqa: S108  nothing is written there: that is the point


def with_symlink(files: Mapping[str, bytes]) -> bytes:
    """The weights are a link to a file of the machine that extracts them."""
    link = tarfile.TarInfo("adapter_model.safetensors")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    kept = {name: content for name, content in files.items() if name != link.name}
    return _compressed(tar(kept, link))


def bomb(files: Mapping[str, bytes], size: int) -> bytes:
    """A few kilobytes that become `size` bytes of zeros."""
    return pack({**files, "padding.bin": bytes(size)})


def truncated(content: bytes) -> bytes:
    """The first half, as after a full disk on their side: nothing says that more was meant."""
    return content[: len(content) // 2]


def corrupted(content: bytes) -> bytes:
    """One bit turned over in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def for_another_base(files: Mapping[str, bytes], base_model: str) -> bytes:
    """A good adapter, but of another base model."""
    config = {**json.loads(files[_CONFIG]), "base_model_name_or_path": base_model}
    return pack({**files, _CONFIG: json.dumps(config).encode()})


def without(files: Mapping[str, bytes], name: str) -> bytes:
    """One file is missing."""
    return pack({kept: content for kept, content in files.items() if kept != name})


def _compressed(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(content)
