from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.errors import SettingsError
from ftorch.core.money import Money
from ftorch.manifest.settings import Settings, load_settings


def settings(folder: Path, text: str) -> Settings:
    (folder / "ftorch.toml").write_text(text)
    return load_settings(folder, {"XDG_CONFIG_HOME": str(folder / "none")})


def test_no_file_means_defaults(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()

    assert load_settings(tmp_path, {"XDG_CONFIG_HOME": str(tmp_path)}) == Settings()


def test_a_declared_rate_is_exact(tmp_path: Path) -> None:
    found = settings(tmp_path, '[local]\nrate = "0.10 USD"\n')

    assert found.declared_rates() == {"local": Money.parse("0.10 USD")}


def test_a_rate_of_zero_is_a_price_and_not_a_missing_one(tmp_path: Path) -> None:
    assert settings(tmp_path, '[local]\nrate = "0.00 USD"\n').declared_rates()["local"].amount == 0


def test_the_file_is_found_from_a_folder_below(tmp_path: Path) -> None:
    settings(tmp_path, 'required_labels = ["team"]\n')
    (tmp_path / "a" / "b").mkdir(parents=True)

    assert load_settings(tmp_path / "a" / "b", {"XDG_CONFIG_HOME": "/none"}).required_labels == ("team",)


def test_the_project_wins_key_by_key_over_the_user(tmp_path: Path) -> None:
    user = tmp_path / "config" / "ftorch"
    user.mkdir(parents=True)
    (user / "ftorch.toml").write_text('required_labels = ["team"]\n[local]\nrate = "9.00 USD"\n')
    (tmp_path / "ftorch.toml").write_text('[local]\nrate = "1.00 USD"\n')

    found = load_settings(tmp_path, {"XDG_CONFIG_HOME": str(tmp_path / "config")})

    assert found.declared_rates() == {"local": Money.parse("1.00 USD")}
    assert found.required_labels == ("team",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[local]\nrtae = 1\n", ":2: local.rtae: not a known key (did you mean 'rate'?)"),
        ("[local]\nrate = 0.5\n", ":2: local.rate: 0.5 has no currency; write it as 0.5 USD"),
        ("[local\n", ":1: "),
        ("[[notify]]\ntype = 'slack'\nurl = 'https://hooks/secret'\n", ":3: notify[0].url: must name a place"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, text)

    assert f"ftorch.toml{expected}" in caught.value.message
