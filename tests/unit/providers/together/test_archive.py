"""Archives that nobody should trust, and those that are as they should be."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard

from ftorch.core.errors import ArtifactError
from ftorch.emulators.adapters import trained_files
from ftorch.emulators.together import archives
from ftorch.providers.together import archive
from ftorch.providers.together.archive import unpack

FILES = {
    name: content for name, content in trained_files("Qwen/Qwen3-8B", 8, 16, 1000).items() if name.startswith("adapter")
}
Spoil = Callable[[Mapping[str, bytes]], bytes]


def unpacked(content: bytes, folder: Path) -> dict[str, bytes]:
    path = folder / "archive"
    path.write_bytes(content)
    unpack(path, folder / "out")
    return {
        found.relative_to(folder / "out").as_posix(): found.read_bytes()
        for found in (folder / "out").rglob("*")
        if found.is_file()
    }


@pytest.mark.parametrize("pack", [archives.pack, archives.pack_as_gzip, archives.tar])
def test_an_archive_is_told_by_its_first_bytes(tmp_path: Path, pack: Spoil) -> None:
    assert unpacked(pack(FILES), tmp_path) == FILES


def test_folders_in_it_are_made(tmp_path: Path) -> None:
    assert unpacked(archives.pack({"./a/b.txt": b"1", "c.txt": b"2"}), tmp_path) == {"a/b.txt": b"1", "c.txt": b"2"}


def test_several_frames_are_one_archive(tmp_path: Path) -> None:
    whole = archives.tar(FILES)
    frames = [zstandard.ZstdCompressor().compress(part) for part in (whole[:5000], whole[5000:])]

    assert unpacked(b"".join(frames), tmp_path) == FILES


def member(kind: bytes, name: str = "link", target: str = "/etc/passwd") -> Spoil:
    def pack(files: Mapping[str, bytes]) -> bytes:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        return archives.tar(files, info)

    return pack


def twice(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as made:
        for _ in range(2):
            info = tarfile.TarInfo("adapter_config.json")
            info.size = 2
            made.addfile(info, io.BytesIO(b"{}"))
    return target.getvalue()


HOSTILE: Mapping[str, tuple[Spoil, str]] = {
    "traversal": (archives.with_traversal, "points outside"),
    "absolute path": (archives.with_absolute_path, "points outside"),
    "backslash": (lambda files: archives.pack({**files, "..\\escaped.txt": b"x"}), "points outside"),
    "drive": (lambda files: archives.pack({**files, "C:escaped.txt": b"x"}), "points outside"),
    "symlink": (archives.with_symlink, "no plain file"),
    "hard link": (member(tarfile.LNKTYPE), "no plain file"),
    "device": (member(tarfile.CHRTYPE), "no plain file"),
    "pipe": (member(tarfile.FIFOTYPE), "no plain file"),
    "twice": (twice, "twice, or too many"),
    "bomb": (lambda files: archives.bomb(files, 80 << 20), "grows beyond"),
    "gzip bomb": (lambda files: archives.pack_as_gzip({**files, "padding.bin": bytes(80 << 20)}), "grows beyond"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused(tmp_path: Path, kind: str) -> None:
    spoil, words = HOSTILE[kind]

    with pytest.raises(ArtifactError, match=words):
        unpacked(spoil(FILES), tmp_path)

    assert not list(tmp_path.parent.rglob("escaped*"))


def test_a_bomb_is_stopped_before_it_fills_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        unpacked(archives.bomb({}, 200 << 20), tmp_path)

    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 65 << 20


def test_thousands_of_files_are_no_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MOST_FILES", 10)

    with pytest.raises(ArtifactError, match="too many files"):
        unpacked(archives.pack({f"{number}.txt": b"x" for number in range(11)}), tmp_path)


DAMAGED: Mapping[str, Spoil] = {
    "truncated": lambda files: archives.truncated(archives.pack(files)),
    "truncated gzip": lambda files: archives.truncated(archives.pack_as_gzip(files)),
    "truncated tar": lambda files: archives.truncated(archives.tar(files)),
    "corrupted": lambda files: archives.corrupted(archives.pack(files)),
    "corrupted gzip": lambda files: archives.corrupted(archives.pack_as_gzip(files)),
    "cut between two files": lambda files: _cut_after_first(files),
    "a web page": lambda _files: b"<html><body>Bad gateway</body></html>",
    "nothing": lambda _files: b"",
}


def _cut_after_first(files: Mapping[str, bytes]) -> bytes:
    first = next(iter(files))
    size = 512 + -(-len(files[first]) // 512) * 512
    return zstandard.ZstdCompressor().compress(archives.tar(files)[:size])


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_archive_is_not_taken_for_whole(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ArtifactError):
        unpacked(DAMAGED[kind](FILES), tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999])
def test_wherever_it_was_cut_it_is_not_taken_for_whole(tmp_path: Path, share: float) -> None:
    content = archives.pack({**FILES, "README.md": b"an adapter\n" * 40})

    with pytest.raises(ArtifactError):
        unpacked(content[: int(len(content) * share)], tmp_path)
