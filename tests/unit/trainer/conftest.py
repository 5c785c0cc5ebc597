"""The tiny base model, built once, and a desk for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.trainer.bases import prepare
from unit.trainer.desk import Desk


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(prepare("builtin:tiny", tmp_path_factory.mktemp("bases"), None).path)


@pytest.fixture
def desk(tmp_path: Path, tiny: Path) -> Desk:
    return Desk(tmp_path, tiny)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Desk:
    """A run of sixty steps that nothing interrupted; LoRA dropout makes it depend on the random state of each step."""
    desk = Desk(tmp_path_factory.mktemp("undisturbed"), tiny)
    assert desk.train(desk.sft(epochs=10)) == 0
    return desk


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Desk:
    """An adapter that was preferred to answer yes, trained on the rows of `dpo_rows`."""
    desk = Desk(tmp_path_factory.mktemp("tuned"), tiny)
    assert desk.train(desk.dpo(epochs=5, learning_rate=0.02, lora={"rank": 4, "alpha": 8})) == 0
    return desk
