from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.errors import ManifestError
from ftorch.manifest.catalogue import bases, canonical_id, check_base, find_base


def test_ids_and_aliases_are_unique() -> None:
    names = [name for base in bases() for name in (base.id, base.alias) if name]

    assert len(names) == len(set(names))


def test_an_alias_stands_for_the_model_that_the_adapter_names() -> None:
    assert canonical_id("builtin:smollm2-135m") == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_model_outside_the_catalogue_is_its_own_name() -> None:
    assert canonical_id("acme/model") == "acme/model"


def test_a_hub_id_outside_the_catalogue_is_allowed_with_an_unknown_size(tmp_path: Path) -> None:
    assert check_base("Qwen/Qwen3-14B", tmp_path) is None


def test_a_folder_with_a_model_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")

    assert check_base("model", tmp_path) is None


@pytest.mark.parametrize(
    ("base_id", "words"),
    [
        ("Qwen/Qwen3-8b", "did you mean 'Qwen/Qwen3-8B'"),
        ("builtin:smollm2", "did you mean 'builtin:smollm2-135m'"),
        ("builtin:huge", "no base model is called 'builtin:huge'"),
        ("gpt 4", "no base model is called 'gpt 4'"),
        ("./models/none", "no base model is called"),
    ],
)
def test_a_name_that_can_be_no_model_is_refused(tmp_path: Path, base_id: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        check_base(base_id, tmp_path)

    assert "builtin:tiny" in (caught.value.hint or "")


def test_the_builtin_models_have_their_counted_sizes() -> None:
    small, tiny = find_base("builtin:smollm2-135m"), find_base("builtin:tiny")

    assert small is not None
    assert tiny is not None
    assert (small.parameters, tiny.parameters) == (134_515_008, 90_624)
