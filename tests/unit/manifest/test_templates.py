from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ftorch.core.errors import UsageError
from ftorch.manifest.catalogue import find_base
from ftorch.manifest.credentials import PROVIDER_VARIABLES
from ftorch.manifest.load import load_manifest, parse_manifest
from ftorch.manifest.settings import Settings
from ftorch.manifest.templates import render

DECLARED = ["local", "ssh", "ray"]
METHODS = ["sft", "dpo"]


def uncommented(text: str) -> str:
    """The template with every optional line switched on."""
    return re.sub(r"^( *)# ([a-z_]+: (?:\{|[0-9]).*)$", r"\1\2", text, flags=re.MULTILINE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("provider", PROVIDER_VARIABLES)
def test_every_template_loads_as_it_is(tmp_path: Path, provider: str, method: str) -> None:
    (tmp_path / "job.yaml").write_text(render(provider, method, "support"))

    manifest = load_manifest(tmp_path / "job.yaml")

    assert manifest.provider.names == (provider,)
    assert (manifest.method.type, manifest.name) == (method, "support")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("provider", PROVIDER_VARIABLES)
def test_every_line_that_is_commented_out_is_true(provider: str, method: str) -> None:
    text = uncommented(render(provider, method, "support"))

    manifest = parse_manifest(text, "job.yaml")

    assert manifest.budget is not None
    assert manifest.secrets == {"HF_TOKEN": "env:HF_TOKEN"}
    assert manifest.method.learning_rate == {"sft": 2e-4, "dpo": 2e-5}[method]


@pytest.mark.parametrize("provider", PROVIDER_VARIABLES)
def test_the_base_model_of_a_template_is_one_that_we_know(provider: str) -> None:
    manifest = parse_manifest(render(provider, "sft", "support"), "job.yaml")

    assert find_base(manifest.base_model.id) is not None


@pytest.mark.parametrize("provider", [name for name in PROVIDER_VARIABLES if name not in DECLARED])
def test_who_rents_starts_with_a_budget(provider: str) -> None:
    assert parse_manifest(render(provider, "sft", "support"), "job.yaml").budget is not None


@pytest.mark.parametrize("provider", DECLARED)
def test_who_must_declare_a_price_is_told_how(provider: str) -> None:
    text = render(provider, "sft", "support")

    found = re.search(rf'^# \[{provider}\] with (rate = "[0-9.]+ USD")', text, re.MULTILINE)

    assert found is not None
    assert provider in Settings.model_validate(tomllib.loads(f"[{provider}]\n{found[1]}")).declared_rates()


@pytest.mark.parametrize("provider", PROVIDER_VARIABLES)
def test_a_template_names_the_variables_that_are_required(provider: str) -> None:
    text = render(provider, "sft", "support")

    assert all(name in text for name in PROVIDER_VARIABLES[provider].required)


@pytest.mark.parametrize("name", ["on", "42", "null", "2026-11-23", "a-b"])
def test_a_name_that_yaml_would_read_as_something_else_stays_text(name: str) -> None:
    assert parse_manifest(render("local", "sft", name), "job.yaml").name == name


@pytest.mark.parametrize(
    ("provider", "method", "name", "words"),
    [
        ("locl", "sft", "x", "there is no template for the provider 'locl' (did you mean 'local'?)"),
        ("local", "grpo", "x", "there is no template for the method 'grpo'"),
        ("local", "sft", "My Job", "'My Job' cannot name a job"),
    ],
)
def test_a_word_that_no_template_has_is_refused(provider: str, method: str, name: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        render(provider, method, name)

    assert caught.value.message == words
