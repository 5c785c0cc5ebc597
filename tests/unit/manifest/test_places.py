"""Where `ftorch.toml` says that frozen rows and adapters are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.errors import SettingsError
from ftorch.manifest.places import artifacts_folder


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def written(folder: Path, url: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ftorch.toml").write_text(f'[artifacts]\nurl = "{url}"\n')
    return folder


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///mnt/ftorch", "/mnt/ftorch"),
        ("file:///mnt/ftorch/", "/mnt/ftorch"),
        ("file:///mnt/our%20share", "/mnt/our share"),
        ("file:///mnt/our share", "/mnt/our share"),
    ],
)
def test_a_file_url_is_a_folder(tmp_path: Path, env: dict[str, str], url: str, folder: str) -> None:
    assert artifacts_folder(written(tmp_path, url), env) == Path(folder)


@pytest.mark.parametrize(
    "url", ["s3://bucket/ftorch", "/mnt/ftorch", "mnt/ftorch", "file:mnt", "file://host/mnt", "FILE:///mnt", ""]
)
def test_anything_else_is_refused_with_its_key(tmp_path: Path, env: dict[str, str], url: str) -> None:
    with pytest.raises(SettingsError, match=r"artifacts\.url") as caught:
        artifacts_folder(written(tmp_path, url), env)

    assert "file:///mnt/ftorch" in (caught.value.hint or "")


def test_without_a_url_everything_stays_in_the_state_folder(tmp_path: Path, env: dict[str, str]) -> None:
    assert artifacts_folder(tmp_path, env) is None


def test_a_variable_holds_the_url(tmp_path: Path, env: dict[str, str]) -> None:
    written(tmp_path, "env:SHARE")

    assert artifacts_folder(tmp_path, {**env, "SHARE": "file:///mnt/a"}) == Path("/mnt/a")


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, env: dict[str, str]) -> None:
    written(tmp_path, "env:SHARE")

    with pytest.raises(SettingsError, match="names SHARE, which is not set"):
        artifacts_folder(tmp_path, env)


def test_the_projects_file_comes_before_the_users(tmp_path: Path, env: dict[str, str]) -> None:
    written(tmp_path / "config" / "ftorch", "file:///mnt/users")
    before = artifacts_folder(tmp_path, env)
    written(tmp_path, "file:///mnt/projects")

    assert (before, artifacts_folder(tmp_path, env)) == (Path("/mnt/users"), Path("/mnt/projects"))
