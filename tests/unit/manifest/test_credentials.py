from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.manifest.credentials import (
    OTHER_VARIABLES,
    PROVIDER_VARIABLES,
    environment,
    missing,
    parse_dot_env,
    secret_values,
)

ROOT = Path(__file__).parents[3]


def dot_env(folder: Path, text: str, mode: int = 0o600) -> None:
    (folder / ".env").write_text(text)
    (folder / ".env").chmod(mode)


def test_the_environment_wins_over_dot_env(tmp_path: Path) -> None:
    dot_env(tmp_path, "A=file\nB=file\n")

    found = environment({"A": "environment"}, tmp_path)

    assert found.mapping() == {"A": "environment", "B": "file"}
    assert (found.source_of("A"), found.source_of("B"), found.source_of("C")) == ("environment", ".env", None)


def test_an_empty_variable_hides_nothing(tmp_path: Path) -> None:
    dot_env(tmp_path, "A=file\n")

    found = environment({"A": "", "B": ""}, tmp_path)

    assert found.mapping() == {"A": "file", "B": ""}
    assert (found.source_of("A"), found.source_of("B")) == (".env", None)


def test_a_login_file_stands_for_what_is_required(tmp_path: Path) -> None:
    (tmp_path / ".modal.toml").touch()

    found = environment({"HOME": str(tmp_path)}, tmp_path)

    assert (found.source_of("MODAL_TOKEN_ID"), found.source_of("MODAL_ENVIRONMENT")) == ("~/.modal.toml", None)
    assert found.source_of("ANYSCALE_CLI_TOKEN") is None


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=plain", "plain"),
        ("export KEY=plain", "plain"),
        ("export   KEY=plain", "plain"),
        ("KEY='with # inside'", "with # inside"),
        ('KEY="quoted" # comment', "quoted"),
        (r'KEY="a \"word\" and\na line"', 'a "word" and\na line'),
        (r"KEY='a\nb'", r"a\nb"),
        ("KEY=value # comment", "value"),
        ("KEY=a#b", "a#b"),
        ("KEY=# comment", ""),
        ("KEY='open", "'open"),
        (" KEY = spaced ", "spaced"),
        ("KEY=a=b", "a=b"),
        ("KEY=", ""),
        ("KEY=1\r\nKEY=2", "2"),
    ],
)
def test_a_line_of_dot_env_is_read_as_people_write_it(line: str, value: str) -> None:
    assert parse_dot_env(line) == {"KEY": value}


def test_comments_and_nonsense_are_passed_over() -> None:
    assert parse_dot_env("# KEY=1\nnonsense\n1KEY=2\nK-Y=3\n=4\n") == {}


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    assert all(name.isidentifier() for name in parse_dot_env(text))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_warned_about(tmp_path: Path, mode: int) -> None:
    dot_env(tmp_path, "A=1\n", mode=mode)

    found = environment({}, tmp_path)

    assert found.warnings == (f"{tmp_path}/.env can be read by others: run `chmod 600 {tmp_path}/.env`",)
    assert found.mapping() == {"A": "1"}


def test_a_file_for_its_owner_alone_is_not_warned_about(tmp_path: Path) -> None:
    dot_env(tmp_path, "A=1\n")

    assert environment({}, tmp_path).warnings == ()


def test_a_file_that_cannot_be_understood_is_warned_about_without_quoting_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"KEY=hidden\xff\n")

    found = environment({}, tmp_path)

    assert (found.mapping(), found.warnings) == ({}, (f"{tmp_path}/.env is not UTF-8 and was not read",))


def test_values_never_show_in_repr_or_str(tmp_path: Path) -> None:
    dot_env(tmp_path, "TOGETHER_API_KEY=hidden-1\n")

    found = environment({"MODAL_TOKEN_ID": "hidden-2"}, tmp_path)

    assert "hidden" not in f"{found!r} {found}"


@pytest.mark.parametrize("provider", [name for name, needed in PROVIDER_VARIABLES.items() if needed.required])
def test_a_missing_credential_names_the_variables_and_all_three_places(provider: str) -> None:
    error = missing(provider)

    variables = PROVIDER_VARIABLES[provider]
    for word in (*variables.required, "the environment", "./.env", variables.login_file or "a login file"):
        assert word in error.message
    assert variables.where in (error.hint or "")
    assert error.exit_code == 4


def test_the_values_of_credentials_are_secret_and_other_values_are_not() -> None:
    env = {
        "TOGETHER_API_KEY": "k-1",
        "TOGETHER_BASE_URL": "https://api.example.com",
        "MODAL_ENVIRONMENT": "main",
        "HOSTED_API_KEY": "key-of-another-service",
        "GIT_CREDENTIAL_HELPER": "store",
        "HF_TOKEN": "",
        "PATH": "/usr/bin",
    }

    assert secret_values(env) == {"k-1", "key-of-another-service"}


def test_env_example_names_every_variable_that_any_part_reads() -> None:
    named = set(re.findall(r"^([A-Z_]+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE))

    variables = {name for one in PROVIDER_VARIABLES.values() for name in (*one.required, *one.optional)}
    assert named == variables | set(OTHER_VARIABLES)


@pytest.mark.parametrize("provider", [name for name, needed in PROVIDER_VARIABLES.items() if needed.required])
def test_env_example_says_where_to_get_one(provider: str) -> None:
    assert PROVIDER_VARIABLES[provider].where in (ROOT / ".env.example").read_text()
