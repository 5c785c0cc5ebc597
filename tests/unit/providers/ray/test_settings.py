from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.errors import CredentialsError
from ftorch.providers.ray.settings import Settings

_LOCAL = "http://127.0.0.1:8265"


def test_the_address_is_that_of_the_dashboard() -> None:
    assert Settings.from_env({"RAY_ADDRESS": f"{_LOCAL}/"}) == Settings(_LOCAL, None)


@pytest.mark.parametrize("address", ["auto", "ray://head:10001", "10.0.0.5:6379", "http://", "http://[::"])
def test_other_addresses_of_ray_are_refused_with_what_is_wanted(address: str) -> None:
    with pytest.raises(CredentialsError, match="no address of a dashboard") as caught:
        Settings.from_env({"RAY_ADDRESS": address})

    assert "http://127.0.0.1:8265" in (caught.value.hint or "")


@pytest.mark.parametrize("address", ["http://me:pa55word@head:8265", "https://head:8265?key=pa55word"])
def test_an_address_with_a_password_in_it_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(CredentialsError, match="more than an address") as caught:
        Settings.from_env({"RAY_ADDRESS": address})

    assert "pa55word" not in f"{caught.value} {caught.value.hint}"


def test_the_token_comes_in_rays_own_order(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of-the-login\n")
    (tmp_path / "token").write_text("of-the-file\n")
    login = {"RAY_ADDRESS": _LOCAL, "HOME": str(tmp_path)}
    named = {**login, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}

    found = [Settings.from_env(env).token for env in ({**named, "RAY_AUTH_TOKEN": "of-the-variable"}, named, login)]

    assert found == ["of-the-variable", "of-the-file", "of-the-login"]


def test_a_token_file_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="there is no such file"):
        Settings.from_env({"RAY_ADDRESS": _LOCAL, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})


def test_a_token_is_not_sent_in_the_clear_over_a_network() -> None:
    env = {"RAY_ADDRESS": "http://10.0.0.5:8265", "RAY_AUTH_TOKEN": "secret-token"}

    with pytest.raises(CredentialsError, match=r"10\.0\.0\.5") as caught:
        Settings.from_env(env)

    assert "secret-token" not in f"{caught.value} {caught.value.hint}"
    assert Settings.from_env({**env, "FTORCH_RAY_PLAIN_HTTP": "1"}).token == "secret-token"
    assert Settings.from_env({**env, "RAY_ADDRESS": "https://10.0.0.5:8265"}).token == "secret-token"


def test_the_token_does_not_show() -> None:
    assert "secret-token" not in repr(Settings(_LOCAL, "secret-token"))
