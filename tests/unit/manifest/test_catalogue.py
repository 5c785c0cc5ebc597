from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.errors import ManifestError
from ftorch.manifest.catalogue import bases, canonical_id, check_base, find_base, id_at
from ftorch.manifest.credentials import PROVIDER_VARIABLES


def test_ids_and_aliases_are_unique() -> None:
    names = [name for base in bases() for name in (base.id, base.alias) if name]

    assert len(names) == len(set(names))


def test_no_two_bases_have_one_id_at_a_provider() -> None:
    theirs = [(name, at) for base in bases() for name, at in base.provider_ids.items()]

    assert len(theirs) == len(set(theirs))
    assert not {at for _, at in theirs} & {base.id for base in bases() if base.id not in base.provider_ids.values()}


def test_every_base_says_what_an_estimate_and_a_licence_check_need() -> None:
    for base in bases():
        assert base.parameters > 0, base.id
        assert base.context >= 1024, base.id
        assert base.licence, base.id
        assert base.lora_targets, base.id
        assert set(base.provider_ids) <= set(PROVIDER_VARIABLES), base.id


def test_a_provider_may_have_its_own_name_for_a_base() -> None:
    base = find_base("meta-llama/Llama-3.1-8B-Instruct")

    assert base is not None
    assert base.provider_ids == {"together": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"}


@pytest.mark.parametrize("family", ["meta-llama/", "google/gemma-3"])
def test_a_family_whose_licence_must_be_accepted_is_gated(family: str) -> None:
    assert {base.gated for base in bases() if base.id.startswith(family)} == {True}


def test_an_alias_stands_for_the_model_that_the_adapter_names() -> None:
    assert canonical_id("builtin:smollm2-135m") == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_model_outside_the_catalogue_is_its_own_name() -> None:
    assert canonical_id("acme/model") == id_at("together", "acme/model") == "acme/model"


def test_the_name_that_a_provider_gives_a_base_leads_there_and_back() -> None:
    theirs = id_at("together", "meta-llama/Llama-3.1-8B-Instruct")

    assert theirs == id_at("together", theirs) == "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
    assert canonical_id(theirs) == "meta-llama/Llama-3.1-8B-Instruct"
    assert id_at("modal", theirs) == "meta-llama/Llama-3.1-8B-Instruct"


def test_a_hub_id_outside_the_catalogue_is_allowed_with_an_unknown_size(tmp_path: Path) -> None:
    assert check_base("Qwen/Qwen3-30B-A3B", tmp_path) is None


def test_a_folder_with_a_model_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")

    assert check_base("model", tmp_path) is None
    assert check_base(str(tmp_path / "model"), Path("/")) is None


@pytest.mark.parametrize(
    ("base_id", "expected"),
    [
        ("Qwen/Qwen3-8b", "no base model is called 'Qwen/Qwen3-8b' (did you mean 'Qwen/Qwen3-8B'?)"),
        ("Qwen3-8B", "no base model is called 'Qwen3-8B' (did you mean 'Qwen/Qwen3-8B'?)"),
        ("builtin:smollm2", "no base model is called 'builtin:smollm2' (did you mean 'builtin:smollm2-135m'?)"),
        ("builtin:Tiny", "no base model is called 'builtin:Tiny' (did you mean 'builtin:tiny'?)"),
        ("builtin:huge", "no base model is called 'builtin:huge'"),
        ("gpt 4", "no base model is called 'gpt 4'"),
        ("./models/none", "no base model is called './models/none'"),
        ("./empty", "'./empty' holds no config.json, so it is no model"),
        ("a\0b", "no base model is called 'a\\x00b'"),
        ("x" * 5000, f"no base model is called '{'x' * 5000}'"),
    ],
    ids=lambda value: value[:20],
)
def test_a_name_that_can_be_no_model_is_refused(tmp_path: Path, base_id: str, expected: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(ManifestError) as caught:
        check_base(base_id, tmp_path, file="m.yaml", line=3)

    assert caught.value.message == f"m.yaml:3: base_model: {expected}"
    assert "builtin:tiny" in (caught.value.hint or "")


def test_the_builtin_models_have_their_counted_sizes() -> None:
    small, tiny = find_base("builtin:smollm2-135m"), find_base("builtin:tiny")

    assert small is not None
    assert tiny is not None
    assert (small.parameters, tiny.parameters) == (134_515_008, 90_624)
