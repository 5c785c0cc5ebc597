from __future__ import annotations

import re
from pathlib import Path

import pytest

from ftorch.manifest.credentials import (
    OTHER_VARIABLES,
    PROVIDER_VARIABLES,
    environment,
    missing,
    parse_dot_env,
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


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=plain", "plain"),
        ("export KEY=plain", "plain"),
        ("KEY='with # inside'", "with # inside"),
        ('KEY="quoted" # comment', "quoted"),
        ("KEY=value # comment", "value"),
        (" KEY = spaced ", "spaced"),
        ("KEY=a=b", "a=b"),
        ("KEY=", ""),
    ],
)
def test_a_line_of_dot_env_is_read_as_people_write_it(line: str, value: str) -> None:
    assert parse_dot_env(line) == {"KEY": value}


def test_comments_and_nonsense_are_passed_over() -> None:
    assert parse_dot_env("# KEY=1\nnonsense\n1KEY=2\n") == {}


def test_a_file_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    dot_env(tmp_path, "A=1\n", mode=0o644)

    [warning] = environment({}, tmp_path).warnings

    assert "chmod 600" in warning


def test_values_never_show_in_the_repr(tmp_path: Path) -> None:
    dot_env(tmp_path, "TOGETHER_API_KEY=hidden-1\n")

    assert "hidden" not in repr(environment({"MODAL_TOKEN_ID": "hidden-2"}, tmp_path))


def test_a_missing_credential_names_all_three_places() -> None:
    error = missing("modal")

    for word in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "environment", ".env", "~/.modal.toml"):
        assert word in error.message
    assert error.exit_code == 4


def test_env_example_names_every_variable_that_any_part_reads() -> None:
    named = set(re.findall(r"^([A-Z_]+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE))

    variables = {name for one in PROVIDER_VARIABLES.values() for name in (*one.required, *one.optional)}
    assert named == variables | set(OTHER_VARIABLES)
