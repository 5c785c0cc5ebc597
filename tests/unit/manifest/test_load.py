from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.errors import ManifestError
from ftorch.manifest.load import load_manifest, parse_manifest
from ftorch.manifest.schema import Manifest

GOOD = """\
version: 1
name: support
base_model: Qwen/Qwen3-8B
method: {type: sft}
dataset: {path: data.jsonl}
provider: {name: local}
"""

FULL = """\
version: 1
name: support-intents
base_model: {id: Qwen/Qwen3-8B, revision: abc}
method: {type: sft, lora: {rank: 16, alpha: 32, dropout: 0.0, targets: all-linear}, epochs: 3, learning_rate: 2.0e-4,
         batch_size: 16, max_length: 1024, train_on: completion, seed: 42}
dataset: {path: data/support.jsonl, format: auto, columns: {text: text, label: category}, prompt: "...",
          labels: from-data, held_out: {fraction: 0.1, by: content_hash, seed: 42}}
provider: {name: [together, modal], modal: {region: eu}}
resources: {gpu: [H100, A100-80GB], workers: 1, max_duration: 4h}
secrets: {HF_TOKEN: env:HF_TOKEN}
budget: {limit: 25.00 USD, on_exceed: cancel}
retry: {on_events: [capacity, preempted, provider_error], max_runs: 3, then: next_provider}
eval: {compare_to: [base], metrics: [exact_match], where: auto,
       gate: {primary: exact_match, at_least: 0.80, beats: base, confidence: 0.95, guardrails: []}}
lifetime: {calls_per_period: 200000, period: month, periods: 24, train_cost: ledger,
           hosted: {per_call: 0.005 USD, source: "list"}, serving: {per_call: 0.0005 USD, source: "list"}}
tracking: {wandb: {project: support}}
schedule: {cron: "0 3 * * 1", timezone: Europe/Paris, when: dataset_changed, misfire: once, overlap: skip}
labels: {team: support}
"""


def faults(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text, "m.yaml")
    return [str(fault) for fault in caught.value.faults]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_the_smallest_manifest_loads() -> None:
    assert parse_manifest(GOOD, "m.yaml").name == "support"


def test_every_key_of_the_full_manifest_loads_and_survives_json() -> None:
    manifest = parse_manifest(FULL, "m.yaml")

    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_a_manifest_written_back_as_yaml_is_the_same_manifest() -> None:
    manifest = parse_manifest(FULL, "m.yaml")

    again = parse_manifest(yaml.safe_dump(manifest.model_dump(mode="json")), "m.yaml")

    assert again == manifest


def test_a_number_without_a_dot_in_its_mantissa_is_a_number() -> None:
    manifest = parse_manifest(changed("{type: sft}", "{type: sft, learning_rate: 1e-4}"), "m.yaml")

    assert manifest.method.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "{type: sft}",
            "{type: sft, learnign_rate: 1e-4}",
            "m.yaml:4: method.learnign_rate: not a known key (did you mean 'learning_rate'?)",
        ),
        (
            "{type: sft}",
            "{type: sft, n_epochs: 3}",
            "m.yaml:4: method.n_epochs: not a known key ('n_epochs' is the name in Together; in ftorch it is "
            "'method.epochs')",
        ),
        (
            "{type: sft}",
            "{type: sft, lora: {lora_r: 8}}",
            "m.yaml:4: method.lora.lora_r: not a known key ('lora_r' is the name in Together; in ftorch it is "
            "'method.lora.rank')",
        ),
        (
            "{type: sft}",
            "{type: sft, epochs: three}",
            "m.yaml:4: method.epochs: must be a number, not 'three'",
        ),
        ("{type: sft}", "{type: sft, batch_size: 0}", "m.yaml:4: method.batch_size: must be at least 1, not 0"),
        ("{type: sft}", "{type: rlhf}", "m.yaml:4: method: type must be sft or dpo, not 'rlhf'"),
        ("{type: sft}", "{epochs: 3}", "m.yaml:4: method: needs a type: sft or dpo"),
        ("{type: sft}", "sft", "m.yaml:4: method: must be a block of keys, not 'sft'"),
        (
            "{type: sft}",
            "{type: sft, train_on: complation}",
            "m.yaml:4: method.train_on: must be 'completion' or 'all', not 'complation' (did you mean 'completion'?)",
        ),
        ("version: 1", "version: 2", "m.yaml:1: version: must be 1, not 2"),
        (
            "name: support",
            "name: Support Team",
            "m.yaml:2: name: must be lower-case letters, digits and inner dashes, at most 63, not 'Support Team'",
        ),
        (
            "{path: data.jsonl}",
            "{path: data.jsonl, held_out: {fraction: 2}}",
            "m.yaml:5: dataset.held_out.fraction: must be less than 1, not 2",
        ),
        (
            "{path: data.jsonl}",
            "{path: data.jsonl, held_out: {path: a.jsonl, fraction: 0.1}}",
            "m.yaml:5: dataset.held_out.fraction: not a known key",
        ),
        ("dataset: {path: data.jsonl}\n", "", "m.yaml:1: dataset: is required"),
        (
            "provider: {name: local}",
            "provider: {name: together, togehter: {}}",
            "m.yaml:6: provider.togehter: not a known key or provider (did you mean 'together'?)",
        ),
        (
            "provider: {name: local}",
            "provider: {name: local}\nbudget: {limit: 25}",
            "m.yaml:7: budget.limit: 25 has no currency; write it as 25 USD",
        ),
        (
            "provider: {name: local}",
            "provider: {name: local}\nbudget: {limit: 25 EUR}",
            "m.yaml:7: budget.limit: EUR is not supported; version 1 keeps its books in USD",
        ),
        (
            "provider: {name: local}",
            "provider: {name: local}\nlabels: {on: x}\nname: again",
            "m.yaml:8: name: is given twice, first on line 2",
        ),
        (
            "provider: {name: local}",
            "provider: {name: local}\nschedule: {cron: '61 * * * *'}",
            "m.yaml:7: schedule.cron: '61 * * * *' is not a cron expression: Bad minute",
        ),
        (
            "provider: {name: local}",
            "provider: {name: local}\nlifetime: {calls_per_period: 1, periods: 1, hosted: {per_call: 1 USD, source: x},"
            " serving: {per_call: 0.0005 USD}}",
            "m.yaml:7: lifetime.serving.source: is required",
        ),
        ("{type: sft}", "{type: sft", "m.yaml:5: is not YAML: "),
        ("  ", "", ""),
    ][:-1],
)
def test_a_mistake_is_named_with_file_line_key_and_what_to_do(old: str, new: str, expected: str) -> None:
    [found] = faults(changed(old, new))

    assert found.startswith(expected)


def test_all_mistakes_come_at_once_in_the_order_of_their_lines() -> None:
    found = faults(changed("name: support", "nmae: support").replace("{type: sft}", "{type: sft, epochs: 0}"))

    assert [line.split(": ")[1] for line in found] == ["name", "nmae", "method.epochs"]


def test_a_secret_in_the_manifest_is_refused_and_not_repeated() -> None:
    [found] = faults(GOOD + "secrets: {HF_TOKEN: hf_verysecret}\n")

    assert "hf_verysecret" not in found
    assert "env:HF_TOKEN" in found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"  \n\n", "is empty"),
        (b"# only a comment\n", "holds no keys"),
        (b"\xef\xbb\xbfversion: 1\n", "byte order mark"),
        (b"version: 1\nname: caf\xe9\n", "m.yaml:2: is not UTF-8"),
        (b"- a\n- b\n", "a manifest is a block of keys"),
        (b"version: 1\n\tname: x\n", "is not YAML"),
        (b"a: &a [*a]\n", "nests too deeply"),
        (b"[" * 5000, "is not YAML"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(content)

    with pytest.raises(ManifestError, match=words):
        load_manifest(path)


def test_a_missing_file_hints_at_init(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "none.yaml")

    assert "ftorch init" in (caught.value.hint or "")


def test_a_manifest_knows_the_file_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(GOOD)

    assert Manifest.from_file(path).source == path


@given(st.binary(max_size=200))
def test_no_content_raises_anything_but_a_manifest_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.yaml"
    path.write_bytes(content)

    with pytest.raises(ManifestError):
        load_manifest(path)
