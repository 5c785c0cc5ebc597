from __future__ import annotations

import pytest
import structlog

from ftorch.core.errors import CredentialsError
from ftorch.providers.together.provider import TogetherProvider
from ftorch.providers.together.settings import Settings

KEY = "tgp_v1_nobody-may-see"


def read(**more: str) -> Settings:
    return Settings.from_env({"TOGETHER_API_KEY": KEY, **more})


def test_a_key_is_all_that_is_needed() -> None:
    assert (read().url, read().project) == ("https://api.together.ai", None)
    assert KEY not in repr(read())


@pytest.mark.parametrize("env", [{}, {"TOGETHER_API_KEY": " "}])
def test_without_a_key_the_error_names_all_three_places(env: dict[str, str]) -> None:
    with pytest.raises(CredentialsError) as caught:
        Settings.from_env(env)

    assert "TOGETHER_API_KEY found in none of the environment, ./.env, a login file" in caught.value.message
    assert "https://api.together.ai/settings/api-keys" in (caught.value.hint or "")


@pytest.mark.parametrize("url", ["https://proxy.example/v1", "https://proxy.example/v1/"])
def test_an_address_of_older_clients_loses_its_version_with_a_warning(url: str) -> None:
    with structlog.testing.capture_logs() as lines:
        found = read(TOGETHER_BASE_URL=url)

    assert found.url == "https://proxy.example"
    assert [(line["log_level"], line["variable"]) for line in lines] == [("warning", "TOGETHER_BASE_URL")]


def test_an_address_without_a_version_is_taken_as_it_is() -> None:
    with structlog.testing.capture_logs() as lines:
        assert read(TOGETHER_BASE_URL="https://proxy.example/").url == "https://proxy.example"

    assert lines == []


def test_an_address_that_is_none_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(CredentialsError, match="is no address of together"):
        TogetherProvider.from_env({"TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": "api.together.ai"})
