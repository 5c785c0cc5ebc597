from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from contract.bucket import open_bucket
from ftorch.core.errors import (
    ArtifactError,
    CredentialsError,
    ProviderUnavailableError,
    RunNotFoundError,
    RunRejectedError,
)
from ftorch.emulators.adapters import trained_files
from ftorch.providers.ray_jobs.artifact import fetch
from ftorch.providers.ray_jobs.store import UriFiles, check_uri
from unit.providers.ray_jobs.cluster import KEY

_WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A storage with one finished run."""
    folder = tmp_path / "bucket" / KEY
    (folder / "adapter").mkdir(parents=True)
    for name, content in trained_files("builtin:tiny", 4, 8, 500).items():
        (folder / ("" if name == "result.json" else "adapter") / name).write_bytes(content)
    return folder


@pytest.fixture
def files(bucket: Path) -> UriFiles:
    return UriFiles(f"file://{bucket.parent}", KEY, "ray")


def test_a_file_is_read_whole_and_a_missing_one_is_none(files: UriFiles) -> None:
    assert json.loads(files.read("result.json") or b"")["trained_tokens"] == 500
    assert files.read("status.json") is None


def test_an_adapter_comes_home_hashed(files: UriFiles, tmp_path: Path) -> None:
    artifact = fetch(files, KEY, tmp_path / "home", "ray")

    assert hashlib.sha256((tmp_path / "home" / _WEIGHTS).read_bytes()).hexdigest() == artifact.files[_WEIGHTS].sha256


def test_a_download_goes_on_where_it_was_cut(files: UriFiles, bucket: Path, tmp_path: Path) -> None:
    whole = (bucket / "adapter" / _WEIGHTS).read_bytes()
    part = tmp_path / "part"
    part.write_bytes(b"x" * 100)

    files.download(f"adapter/{_WEIGHTS}", part)

    assert part.read_bytes() == b"x" * 100 + whole[100:]


def test_a_part_that_is_longer_than_the_file_is_cut(files: UriFiles, bucket: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"x" * 100_000)

    files.download(f"adapter/{_WEIGHTS}", part)

    assert part.stat().st_size == (bucket / "adapter" / _WEIGHTS).stat().st_size


def test_a_damaged_file_is_refused_and_fetched_anew_the_next_time(
    files: UriFiles, bucket: Path, tmp_path: Path
) -> None:
    weights = bucket / "adapter" / _WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"x")
    with pytest.raises(ArtifactError):
        fetch(files, KEY, tmp_path / "home", "ray")

    weights.write_bytes(whole)

    assert fetch(files, KEY, tmp_path / "home", "ray").files


def test_a_run_without_a_result_has_no_adapter(files: UriFiles, bucket: Path, tmp_path: Path) -> None:
    (bucket / "result.json").unlink()

    with pytest.raises(RunNotFoundError):
        fetch(files, KEY, tmp_path / "home", "ray")


@pytest.mark.parametrize("text", ["{", "[]", '{"files": 1}'])
def test_a_result_that_cannot_be_read_is_refused(files: UriFiles, bucket: Path, tmp_path: Path, text: str) -> None:
    (bucket / "result.json").write_text(text)

    with pytest.raises(ArtifactError):
        fetch(files, KEY, tmp_path / "home", "ray")


@pytest.mark.parametrize(
    ("raised", "told"), [(PermissionError("no"), CredentialsError), (OSError("no route"), ProviderUnavailableError)]
)
def test_a_storage_that_fails_is_named(
    files: UriFiles, monkeypatch: pytest.MonkeyPatch, raised: Exception, told: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise raised

    monkeypatch.setattr(type(files._files), "cat_file", fail)

    with pytest.raises(told, match="file://"):
        files.read("status.json")


@pytest.mark.parametrize("uri", ["s4://bucket", "s3://bucket/prefix"])
def test_a_place_that_cannot_be_opened_is_refused_with_what_to_do(uri: str) -> None:
    with pytest.raises(RunRejectedError) as caught:
        check_uri(uri, "ray")

    assert uri in caught.value.message
    assert caught.value.hint in ("run `pip install s3fs`", "write s3://BUCKET/PREFIX")


def test_a_bucket_that_is_not_there_is_refused(tmp_path: Path) -> None:
    open_bucket("typo", tmp_path / "bucket").is_missing = True

    with pytest.raises(RunRejectedError, match="bucket://typo is not there") as caught:
        check_uri("bucket://typo/ftorch/runs", "ray")

    assert "make it" in (caught.value.hint or "")


def test_a_mount_that_is_not_there_is_refused() -> None:
    with pytest.raises(RunRejectedError, match="file:///nowhere is not there"):
        check_uri("file:///nowhere/at/all", "ray")


def test_a_folder_that_the_run_will_make_is_not_missed_yet(tmp_path: Path) -> None:
    open_bucket("empty", tmp_path / "bucket")

    check_uri("bucket://empty/ftorch/runs", "ray")
    check_uri(f"file://{tmp_path}/ftorch/runs", "ray")


@pytest.mark.parametrize("fault", ["is_denied", "is_down"])
def test_a_bucket_that_does_not_tell_whether_it_is_there_is_not_refused(tmp_path: Path, fault: str) -> None:
    setattr(open_bucket("silent", tmp_path / "bucket"), fault, True)

    check_uri("bucket://silent/ftorch/runs", "ray")
