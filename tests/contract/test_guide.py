"""The guide to writing a provider shows the sample's own code, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import pytest

from ftorch.providers.registry import GROUP

_ROOT = Path(__file__).parents[2]
_GUIDE = (_ROOT / "docs" / "guides" / "write-a-provider.md").read_text()
_BLOCK = re.compile(r"^`(?P<file>[\w/.]+)`:\n\n```python\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
_BLOCKS = [(found["file"], found["code"]) for found in _BLOCK.finditer(_GUIDE)]


def test_every_block_of_python_names_its_file() -> None:
    assert len(_BLOCKS) == _GUIDE.count("```python") > 10


@pytest.mark.parametrize(("file", "code"), _BLOCKS)
def test_a_block_is_the_code_of_its_file(file: str, code: str) -> None:
    text = (_ROOT / file).read_text()

    assert code in text or indent(code, "    ") in text


def test_the_entry_point_is_the_one_that_is_looked_at() -> None:
    assert f'[project.entry-points."{GROUP}"]' in _GUIDE


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`((?:src|tests|docs)/[\w/.-]+)`", _GUIDE))))
def test_a_file_that_the_guide_names_is_there(file: str) -> None:
    assert (_ROOT / file).exists() or file == "src/ftorch/emulators"
