"""Where the token comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftorch.core.errors import CredentialsError
from ftorch.providers.anyscale.settings import Settings, cookie


def login(home: Path, text: str) -> dict[str, str]:
    path = home / ".anyscale" / "credentials.json"
    path.parent.mkdir()
    path.write_text(text)
    return {"HOME": str(home)}


def test_the_variable_counts_before_the_login_file(tmp_path: Path) -> None:
    env = login(tmp_path, json.dumps({"cli_token": "aph0_file"}))

    assert Settings.from_env({**env, "ANYSCALE_CLI_TOKEN": "aph0_variable"}).token == "aph0_variable"
    assert Settings.from_env(env).token == "aph0_file"


def test_the_host_is_anyscales_own_unless_it_is_named() -> None:
    env = {"ANYSCALE_CLI_TOKEN": "aph0_x"}

    assert Settings.from_env(env).host == "https://console.anyscale.com"
    assert Settings.from_env({**env, "ANYSCALE_HOST": "https://other"}).host == "https://other"


def test_without_a_token_all_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError) as caught:
        Settings.from_env({"HOME": str(tmp_path)})

    for place in ("ANYSCALE_CLI_TOKEN", "./.env", "~/.anyscale/credentials.json"):
        assert place in caught.value.message


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_login_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(CredentialsError, match=r"credentials\.json cannot be read") as caught:
        Settings.from_env(login(tmp_path, text))

    assert caught.value.hint == "run `anyscale login`"


@pytest.mark.parametrize("token", ["aph0_x; other=1", "aph0 x", 'aph0_"x"'])
def test_a_token_that_would_end_the_cookie_is_refused(token: str) -> None:
    with pytest.raises(CredentialsError, match="holds characters that no token of anyscale has"):
        Settings.from_env({"ANYSCALE_CLI_TOKEN": token})


def test_the_token_travels_as_a_cookie_and_does_not_show() -> None:
    settings = Settings.from_env({"ANYSCALE_CLI_TOKEN": "aph0_x"})

    assert cookie(settings.token) == {"Cookie": "cli_token=aph0_x"}
    assert "aph0_x" not in repr(settings)


@pytest.mark.parametrize("host", ["http://console.example.com", "console.anyscale.com"])
def test_the_token_goes_to_no_host_in_the_clear(host: str) -> None:
    with pytest.raises(CredentialsError, match="no https") as caught:
        Settings.from_env({"ANYSCALE_CLI_TOKEN": "sss_token", "ANYSCALE_HOST": host})

    assert "sss_token" not in f"{caught.value} {caught.value.hint}"
