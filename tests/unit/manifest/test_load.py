from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.errors import Fault, ManifestError
from ftorch.manifest.evaluation import Gate
from ftorch.manifest.lifetime import Lifetime
from ftorch.manifest.load import load_manifest, parse_manifest
from ftorch.manifest.schema import Dataset, Dpo, Manifest, Sft

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


def test_a_number_without_a_dot_in_its_mantissa_is_a_number() -> None:
    manifest = parse_manifest(changed("{type: sft}", "{type: sft, learning_rate: 1e-4}"), "m.yaml")

    assert manifest.method.learning_rate == 1e-4


def test_a_number_leaves_the_loader_as_a_plain_float() -> None:
    manifest = parse_manifest(changed("{type: sft}", "{type: sft, learning_rate: 0.0010}"), "m.yaml")

    assert type(manifest.method.learning_rate) is float


@pytest.mark.parametrize(("written", "meant"), [("010", 10), ("1_000", 1000)])
def test_an_integer_means_what_its_digits_say(written: str, meant: int) -> None:
    manifest = parse_manifest(changed("{type: sft}", f"{{type: sft, seed: {written}}}"), "m.yaml")

    assert manifest.method.seed == meant


@pytest.mark.parametrize("text", ["2026-11-23", "0123456", "1:30", "12e4567"])
def test_text_that_looks_like_a_date_or_an_odd_number_stays_text(text: str) -> None:
    manifest = parse_manifest(changed("Qwen/Qwen3-8B", f"{{id: Qwen/Qwen3-8B, revision: {text}}}"), "m.yaml")

    assert manifest.base_model.revision == text


def test_a_word_in_quotes_is_text() -> None:
    manifest = parse_manifest(GOOD + """labels: {"on": "yes", country: 'no'}\n""", "m.yaml")

    assert manifest.labels == {"on": "yes", "country": "no"}


def test_an_alias_stands_for_its_anchor() -> None:
    manifest = parse_manifest(GOOD + "labels: {team: &who support, owner: *who}\n", "m.yaml")

    assert manifest.labels == {"team": "support", "owner": "support"}


METHOD = [
    (
        "{type: sft, learnign_rate: 1e-4}",
        "m.yaml:4: method.learnign_rate: not a known key (did you mean 'learning_rate'?)",
    ),
    (
        "{type: sft, n_epochs: 3}",
        "m.yaml:4: method.n_epochs: not a known key ('n_epochs' is the name in Together; in ftorch it is "
        "'method.epochs')",
    ),
    (
        "{type: sft, lora: {lora_r: 8}}",
        "m.yaml:4: method.lora.lora_r: not a known key ('lora_r' is the name in Together; in ftorch it is "
        "'method.lora.rank')",
    ),
    ("{type: sft, beta: 0.1}", "m.yaml:4: method.beta: is a key of dpo, and this is sft"),
    ("{type: sft, beta: null}", "m.yaml:4: method.beta: is a key of dpo, and this is sft"),
    ("{type: dpo, train_on: all}", "m.yaml:4: method.train_on: is a key of sft, and this is dpo"),
    ("{type: sft, epochs: three}", "m.yaml:4: method.epochs: must be a number, not 'three'"),
    ("{type: sft, epochs: true}", "m.yaml:4: method.epochs: must be a number, not true"),
    ("{type: sft, epochs: 0.00}", "m.yaml:4: method.epochs: must be greater than 0, not 0.00"),
    ("{type: sft, weight_decay: inf}", "m.yaml:4: method.weight_decay: must be a finite number, not inf"),
    ("{type: sft, learning_rate: nan}", "m.yaml:4: method.learning_rate: must be a finite number, not nan"),
    ("{type: sft, batch_size: 0}", "m.yaml:4: method.batch_size: must be at least 1, not 0"),
    ("{type: sft, batch_size: three}", "m.yaml:4: method.batch_size: must be a whole number, not 'three'"),
    ("{type: sft, batch_size: true}", "m.yaml:4: method.batch_size: must be a whole number, not true"),
    ("{type: sft, lora: {rank: 8.50}}", "m.yaml:4: method.lora.rank: must be a whole number, not 8.50"),
    (
        "{type: sft, batch_size: 16, micro_batch_size: 5}",
        "m.yaml:4: method.micro_batch_size: must divide batch_size, 16; 5 does not",
    ),
    (
        "{type: sft, lora: {targets: all}}",
        "m.yaml:4: method.lora.targets: must be all-linear or a list of module names, not 'all'",
    ),
    (
        "{type: sft, lora: {targets: []}}",
        "m.yaml:4: method.lora.targets: must be all-linear or a list of module names, not []",
    ),
    ("{type: sft, lora: 8}", "m.yaml:4: method.lora: must be a block of keys, not 8"),
    ("{type: rlhf}", "m.yaml:4: method: type must be sft or dpo, not 'rlhf'"),
    ("{epochs: 3}", "m.yaml:4: method: needs a type: sft or dpo"),
    ("sft", "m.yaml:4: method: must be a block of keys, not 'sft'"),
    (
        "{type: sft, train_on: complation}",
        "m.yaml:4: method.train_on: must be 'completion' or 'all', not 'complation' (did you mean 'completion'?)",
    ),
]

REQUIRED = [
    ("version: 1", "version: 2", "m.yaml:1: version: must be 1, the only version that this ftorch reads, not 2"),
    ("version: 1", "version: 1.0", "m.yaml:1: version: must be 1, the only version that this ftorch reads, not 1.0"),
    (
        "name: support",
        "name: Support Team",
        "m.yaml:2: name: must be lower-case letters, digits and inner dashes, at most 63, not 'Support Team'",
    ),
    ("name: support", "name: 1.10", "m.yaml:2: name: must be text, not 1.10"),
    (
        "Qwen/Qwen3-8B",
        "[a]",
        "m.yaml:3: base_model: must be an id such as Qwen/Qwen3-8B, or a block with id and revision, not ['a']",
    ),
    ("dataset: {path: data.jsonl}\n", "", "m.yaml:1: dataset: is required"),
    ("{path: data.jsonl}", "{format: auto}", "m.yaml:5: dataset.path: is required"),
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
    (
        "{path: data.jsonl}",
        "{path: data.jsonl, held_out: 0.1}",
        "m.yaml:5: dataset.held_out: must be a block of keys, not 0.1",
    ),
    (
        "{path: data.jsonl}",
        "{path: data.jsonl, labels: from-daat}",
        "m.yaml:5: dataset.labels: must be from_data or a list of labels, not 'from-daat'",
    ),
    (
        "{name: local}",
        "{name: together, togehter: {}}",
        "m.yaml:6: provider.togehter: not a known key or provider (did you mean 'together'?)",
    ),
    ("{name: local}", "{name: local, threads: 2}", "m.yaml:6: provider.threads: not a known key or provider"),
    ("{name: local}", "{name: local, local: 3}", "m.yaml:6: provider.local: must be a block of options, not 3"),
    (
        "{name: local}",
        "{name: [1]}",
        "m.yaml:6: provider.name: must be a provider's name or a list of names, not [1]",
    ),
    ("{name: local}", "{name: [a, b, a]}", "m.yaml:6: provider.name: names a provider twice: a, b, a"),
    ("{name: local}", "[]", "m.yaml:6: provider.name: must be a provider's name or a list of names, not []"),
]

PRICE = "periods: 1, hosted: {per_call: 1 USD, source: x}"
OPTIONAL = [
    ("budget: {limit: 25}", "m.yaml:7: budget.limit: 25 has no currency; write it as 25 USD"),
    ("budget: {limit: 25.00}", "m.yaml:7: budget.limit: 25.00 has no currency; write it as 25.00 USD"),
    (
        "budget: {limit: 25.00 EUR}",
        "m.yaml:7: budget.limit: EUR is not supported; version 1 keeps its books in USD",
    ),
    (
        "budget: {limit: $25}",
        "m.yaml:7: budget.limit: '$25' is not an amount; write a number and its currency, such as 25.00 USD",
    ),
    (
        "budget: {limit: 1:30}",
        "m.yaml:7: budget.limit: '1:30' is not an amount; write a number and its currency, such as 25.00 USD",
    ),
    ("budget: {limit: }", "m.yaml:7: budget.limit: must be an amount such as 25.00 USD"),
    ("budget: {limit: [1]}", "m.yaml:7: budget.limit: must be an amount such as 25.00 USD, not [1]"),
    ("budget:\n  on_exceed: cancel", "m.yaml:7: budget.limit: is required"),
    (
        "lora_r: 8",
        "m.yaml:7: lora_r: not a known key ('lora_r' is the name in Together; in ftorch it is 'method.lora.rank')",
    ),
    (
        "epochs: 3",
        "m.yaml:7: epochs: not a known key ('epochs' is the name in other tools; in ftorch it is 'method.epochs')",
    ),
    ("labels:\n  team: on", 'm.yaml:8: labels.team: YAML may read on as true; write true, or "on" in quotes'),
    ("labels: {land: NO}", 'm.yaml:7: labels.land: YAML may read NO as false; write false, or "NO" in quotes'),
    ("labels: {on: x}", 'm.yaml:7: labels.on: YAML may read this key as true or false; write "on" in quotes'),
    ("on: {cron: x}", 'm.yaml:7: on: YAML may read this key as true or false; write "on" in quotes'),
    (
        "resources: {workers: yes}",
        'm.yaml:7: resources.workers: YAML may read yes as true; write true, or "yes" in quo',
    ),
    ("labels: {release: 1.10}", "m.yaml:7: labels.release: must be text, not 1.10"),
    ("labels:\n- a", "m.yaml:7: labels: must be a block of keys, not ['a']"),
    ("labels: {? [a, b] : c}", "m.yaml:7: labels: holds a key that is not plain text"),
    ("labels: {a: !foo x}", "m.yaml:7: labels.a: the tag '!foo' means nothing in a manifest"),
    ("labels: {a: !!int x}", "m.yaml:7: labels.a: cannot be read as int: 'x'"),
    ("labels: {a: b}\nname: again", "m.yaml:8: name: is given twice, first on line 2"),
    ("resources: {gpu: [H100, 1]}", "m.yaml:7: resources.gpu[1]: must be text, not 1"),
    (
        "resources: {max_duration: 4 hours}",
        "m.yaml:7: resources.max_duration: '4 hours' is not a duration; write a number and s, m, h or d, such as 4h",
    ),
    (
        "schedule: {cron: '61 * * * *'}",
        "m.yaml:7: schedule.cron: '61 * * * *' is not a cron expression: Bad minute",
    ),
    (
        f"lifetime: {{calls_per_period: 1, {PRICE}, serving: {{per_call: 0.0005 USD}}}}",
        "m.yaml:7: lifetime.serving.source: is required",
    ),
    (
        f"lifetime: {{calls_per_period: 1, {PRICE}, serving: {{per_call: 1 USD, source: x}}, train_cost: ledgr}}",
        "m.yaml:7: lifetime.train_cost: must be ledger, or a block with assumed and source, not 'ledgr'",
    ),
]

MISTAKES = [
    *((changed("{type: sft}", new), expected) for new, expected in METHOD),
    *((changed(old, new), expected) for old, new, expected in REQUIRED),
    *((f"{GOOD}{more}\n", expected) for more, expected in OPTIONAL),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[expected[7:60] for _, expected in MISTAKES])
def test_a_mistake_is_named_with_file_line_key_and_what_to_do(text: str, expected: str) -> None:
    [found] = faults(text)

    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("\tlabels: x", "m.yaml:7: cannot be read as YAML: a tab stands where only spaces may"),
        ("labels: 'open\nretry: x", "m.yaml:7: cannot be read as YAML: the quote that opens here is never closed"),
        ("labels: {a: b\n", "m.yaml:7: cannot be read as YAML: a bracket that opens here is not closed, or a comma"),
        ("labels: a: b", "m.yaml:7: cannot be read as YAML: a second colon on this line, or a wrong indent"),
        ("labels\nretry: {}", "m.yaml:7: cannot be read as YAML: a key without its colon"),
        ("---\nname: x", "m.yaml:7: cannot be read as YAML: a second document begins; a file holds one manifest"),
        ("labels: *a", "m.yaml:7: cannot be read as YAML: found undefined alias 'a'"),
        ("labels: \x07", "m.yaml:7: holds the control character #x0007"),
        (r'labels: {a: "\ud800"}', "m.yaml:7: cannot be read as YAML: half of a surrogate pair is no character"),
    ],
)
def test_broken_yaml_is_named_in_plain_words_at_the_line_to_mend(line: str, expected: str) -> None:
    [found] = faults(f"{GOOD}{line}\n")

    assert found.startswith(expected)


@pytest.mark.parametrize("key", ["manifest", "str", "int", "literal", "v[x", "function-after[f(), str]"])
def test_a_key_that_looks_like_a_type_of_the_schema_is_an_unknown_key(key: str) -> None:
    text = changed("{type: sft}", f"{{type: sft, {json.dumps(key)}: 1}}")

    assert faults(f"{text}{json.dumps(key)}: 1\n") == [
        f"m.yaml:4: method.{key}: not a known key",
        f"m.yaml:7: {key}: not a known key",
    ]


def test_all_mistakes_come_at_once_in_the_order_of_their_lines() -> None:
    text = changed("name: support", "nmae: support").replace("{type: sft}", "{type: sft, epochs: 0, beta: 1}")

    found = faults(text + "labels: {a: on}\nname: x\nname: y\nprovider: {name: local, locl: {}}\n")

    keys = [line.split(": ")[1] for line in found]
    assert keys == ["nmae", "method.beta", "method.epochs", "labels.a", "name", "provider"]


def test_a_mistake_in_provider_options_hides_no_other() -> None:
    found = faults(changed("{name: local}", "{name: local, locl: {}}").replace("{type: sft}", "{type: sft, epochs: 0}"))

    assert [line.split(": ")[1] for line in found] == ["method.epochs", "provider.locl"]


def test_a_fault_is_at_the_line_of_its_own_key_in_a_block_of_many_lines() -> None:
    text = changed("method: {type: sft}", "method:\n  type: sft\n  lora:\n    rank: 8\n    alpha: 0")

    assert faults(text) == ["m.yaml:8: method.lora.alpha: must be at least 1, not 0"]


def test_a_missing_key_is_at_the_line_of_the_block_that_lacks_it() -> None:
    text = changed("dataset: {path: data.jsonl}", "dataset:\n  format: auto\n  held_out:\n    seed: 1")

    assert [fault.partition(": ")[0] for fault in faults(text)] == ["m.yaml:5", "m.yaml:7"]


def test_a_secret_in_the_manifest_is_refused_and_not_repeated() -> None:
    [found] = faults(GOOD + "secrets: {HF_TOKEN: hf_verysecret}\n")

    assert "hf_verysecret" not in found
    assert "env:HF_TOKEN" in found


BOMB = b"a: &a [x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b", ".join([b"*%c" % (name - 1)] * 8)) for name in b"bcdefghi"
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "m.yaml:1: is empty"),
        (b"  \n\n", "m.yaml:1: is empty"),
        (b"# only a comment\n", "m.yaml:1: holds no keys"),
        (b"\xef\xbb\xbfversion: 1\n", "m.yaml:1: starts with a byte order mark"),
        (b"version: 1\nname: caf\xe9\n", "m.yaml:2: is not UTF-8"),
        (b"\n- a\n- b\n", "m.yaml:2: a manifest is a block of keys"),
        (b"just words", "m.yaml:1: a manifest is a block of keys"),
        (b"a: &a [*a]\n", "m.yaml:1: nests too deeply"),
        (b"[" * 5000, "m.yaml:1: cannot be read as YAML"),
        (b"a: [" + b"x, " * 10_000 + b"]", "m.yaml:1: cannot be read as YAML: it has more than 10000 values"),
        (BOMB, "m.yaml:1: has more than 10000 values, aliases included"),
        (b"#" * (1 << 20) + b"\n", "m.yaml: is longer than a manifest may be, 1048576 bytes"),
        (rb'a: "\UFFFFFFFF"', "m.yaml:1: cannot be read as YAML"),
        (b"n: " + b"9" * 5000, "m.yaml:1: n: cannot be read as int: '999"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_file_that_is_no_manifest_is_refused_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(content)

    with pytest.raises(ManifestError) as caught:
        load_manifest(path)

    assert any(str(fault).startswith(f"{tmp_path}/{words}") for fault in caught.value.faults)


def test_a_missing_file_hints_at_init(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "none.yaml")

    assert caught.value.message == f"{tmp_path}/none.yaml: there is no such file"
    assert "ftorch init" in (caught.value.hint or "")


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        load_manifest(tmp_path)


def test_a_manifest_knows_the_file_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(GOOD)

    assert Manifest.from_file(path).source == path


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORD = TEXT.map(str.strip).filter(bool)
NUMBER = st.floats(min_value=1e-9, max_value=1, exclude_max=True)
AMOUNT = st.decimals(min_value=0, max_value=10**6, places=4).map(lambda amount: f"{amount:f} USD")
LORA = st.fixed_dictionaries(
    {},
    optional={
        "rank": st.integers(1, 512),
        "alpha": st.none() | st.integers(1, 512),
        "dropout": NUMBER,
        "targets": st.just("all-linear") | st.lists(WORD, min_size=1, max_size=3),
    },
)
TRAINING = {"lora": LORA, "epochs": NUMBER, "learning_rate": st.none() | NUMBER, "seed": st.integers(0, 2**31 - 1)}
METHODS = st.fixed_dictionaries({"type": st.just("sft")}, optional=TRAINING) | st.fixed_dictionaries(
    {"type": st.just("dpo")}, optional={**TRAINING, "beta": NUMBER}
)
HELD_OUT = st.fixed_dictionaries({"path": WORD}) | st.fixed_dictionaries({"fraction": NUMBER})
MANIFESTS = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "name": st.from_regex(r"[a-z0-9][a-z0-9-]{0,61}[a-z0-9]|[a-z0-9]", fullmatch=True),
        "base_model": WORD | st.fixed_dictionaries({"id": WORD, "revision": st.none() | TEXT}),
        "method": METHODS,
        "dataset": st.fixed_dictionaries({"path": WORD}, optional={"held_out": HELD_OUT, "prompt": TEXT}),
        "provider": WORD | st.lists(WORD, min_size=1, max_size=3, unique=True),
    },
    optional={
        "budget": st.fixed_dictionaries({"limit": AMOUNT}),
        "labels": st.dictionaries(TEXT, TEXT, max_size=3),
        "resources": st.fixed_dictionaries({}, optional={"max_duration": st.sampled_from(["90s", "30m", "4h", "2d"])}),
        "secrets": st.dictionaries(TEXT, st.sampled_from(["env:A", "env:_b1"]), max_size=2),
    },
)


@given(MANIFESTS)
def test_any_manifest_dumped_to_yaml_and_loaded_again_is_equal(values: dict[str, object]) -> None:
    manifest = Manifest.model_validate(values)

    again = parse_manifest(yaml.safe_dump(manifest.model_dump(mode="json")), "m.yaml")

    assert again == manifest


def test_the_full_manifest_written_back_as_yaml_is_the_same_manifest() -> None:
    manifest = parse_manifest(FULL, "m.yaml")

    assert parse_manifest(yaml.safe_dump(manifest.model_dump(mode="json")), "m.yaml") == manifest


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "m.yaml"


@given(content=st.binary(max_size=200))
def test_no_content_raises_anything_but_a_manifest_error(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)

    with pytest.raises(ManifestError):
        load_manifest(scratch)


def faults_if_any(text: str) -> tuple[Fault, ...]:
    try:
        parse_manifest(text, "m.yaml")
    except ManifestError as error:
        return error.faults
    return ()


PIECES = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\t",
        "&a ",
        "*a",
        "!!int ",
        "!x ",
        "'",
        '"',
        "|",
        "? ",
        "on",
        "<<: ",
        "~",
    ]
) | st.text(max_size=3)


@given(cuts=st.lists(st.tuples(st.integers(0, len(FULL)), st.integers(0, 6), PIECES), min_size=1, max_size=4))
def test_no_slip_of_the_pen_raises_anything_but_a_manifest_error(cuts: list[tuple[int, int, str]]) -> None:
    text = FULL
    for start, length, piece in cuts:
        text = text[:start] + piece + text[start + length :]

    assert all(str(fault).encode() for fault in faults_if_any(text))


KEYS = sorted({key for model in (Manifest, Sft, Dpo, Dataset, Lifetime, Gate) for key in model.model_fields})
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(["sft", "dpo", "1 USD", "local"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(values=st.dictionaries(st.sampled_from(sorted(Manifest.model_fields)), ANYTHING, max_size=6))
def test_no_value_under_any_key_raises_anything_but_a_manifest_error(values: dict[str, object]) -> None:
    assert all(str(fault).encode() for fault in faults_if_any(yaml.safe_dump({**yaml.safe_load(GOOD), **values})))
