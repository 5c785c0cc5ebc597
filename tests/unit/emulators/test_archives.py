"""Archives that are as the service makes them, and those that nobody should trust."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping

import pytest
import zstandard

from ftorch.emulators.adapters import trained_files
from ftorch.emulators.together import archives

FILES: Mapping[str, bytes] = trained_files("Qwen/Qwen3-8B", 4, 8, 100)


def members(content: bytes) -> dict[str, tarfile.TarInfo]:
    whole = zstandard.ZstdDecompressor().decompress(content)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        return {member.name: member for member in archive.getmembers()}


def test_an_archive_is_packed_the_same_way_every_time() -> None:
    assert archives.pack(FILES) == archives.pack(dict(FILES))
    assert archives.unpack(archives.pack(FILES)) == dict(FILES)


@pytest.mark.parametrize("spoil", [archives.corrupted, archives.truncated])
def test_a_spoilt_archive_shows(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises((zstandard.ZstdError, tarfile.ReadError)):
        archives.unpack(spoil(archives.pack(FILES)))


def test_members_that_lead_out_of_the_folder_are_in_there() -> None:
    assert "../../escaped.txt" in members(archives.with_traversal(FILES))
    assert "/tmp/escaped.txt" in members(archives.with_absolute_path(FILES))
    assert members(archives.with_symlink(FILES))["adapter_model.safetensors"].issym()


def test_a_bomb_is_small_until_it_is_unpacked() -> None:
    bomb = archives.bomb(FILES, 50_000_000)

    assert len(bomb) < 20_000
    assert members(bomb)["padding.bin"].size == 50_000_000


def test_an_adapter_of_another_base_says_so() -> None:
    files = archives.unpack(archives.for_another_base(FILES, "someone/else"))

    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "someone/else"


def test_a_file_can_be_missing_and_the_archive_of_another_kind() -> None:
    assert "adapter_config.json" not in members(archives.without(FILES, "adapter_config.json"))
    assert gzip.decompress(archives.pack_as_gzip(FILES)) == archives.tar(FILES)
