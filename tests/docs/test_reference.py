"""The generated pages are those that the code makes now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ["manifest.md", "settings.md", "cli.md", "errors.md", "data-rules.md"]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_that_is_made_from_code_is_listed_here() -> None:
    assert sorted(script().PAGES) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / "reference" / name).read_text() == script().PAGES[name](), "run `make docs`"
