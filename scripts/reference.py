"""Write the pages of docs/reference that are made from code. `make docs` runs it; a test holds the pages to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ftorch.cli.app import LazyGroup
from ftorch.cli.main import _COMMANDS
from ftorch.core import errors
from ftorch.data.rules import markdown
from ftorch.manifest.json_schema import manifest_schema, settings_schema

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

_EXAMPLE = """\
version: 1
name: support-intents
base_model: Qwen/Qwen3-8B              # or {id, revision}
method: {type: sft, lora: {rank: 16, alpha: 32, dropout: 0.0, targets: all-linear}, epochs: 3, learning_rate: 2.0e-4,
         batch_size: 16, max_length: 1024, train_on: completion, seed: 42}            # or {type: dpo, beta: 0.1, ...}
dataset: {path: data/support.jsonl, format: auto, columns: {text: text, label: category}, prompt: "{text}",
          labels: from_data, held_out: {fraction: 0.1, by: content_hash, seed: 42}}   # or held_out: {path: ...}
provider: {name: local}                # or a list in order, or cheapest, or fastest
resources: {gpu: [H100, A100-80GB], workers: 1}
secrets: {HF_TOKEN: env:HF_TOKEN}      # names and places, never values
budget: {limit: 25.00 USD, on_exceed: cancel}
retry: {on_events: [capacity, preempted, provider_error], max_runs: 3, then: next_provider}
eval: {compare_to: [base], metrics: [exact_match], where: auto,
       gate: {primary: exact_match, at_least: 0.80, beats: base, confidence: 0.95, guardrails: []}}
lifetime: {calls_per_period: 200000, period: month, periods: 24, train_cost: ledger,
           hosted: {per_call: 0.005 USD, source: "price list, 2026-11-01"},
           serving: {per_call: 0.0005 USD, source: "quote of 2026-11-02"}}
task: {kind: router, target: {metric: exact_match, at_least: 0.90},
       prompted: {correct: 412, rows: 500, source: "prompt v14"}, retrieval: {not_applicable: "nothing to look up"}}
tracking: {wandb: {project: support}}
schedule: {cron: "0 3 * * 1", timezone: Europe/Paris, when: dataset_changed, misfire: once, overlap: skip}
labels: {team: support}
"""


def manifest_page() -> str:
    """Every key of the manifest."""
    head = (
        "# Manifest\n\nEvery key, generated from the schema; `ftorch schema manifest` prints the same as JSON schema "
        "for editors. `schedule` is what `ftorch schedule add` goes by; `eval`, `lifetime` and `task` are what "
        "`ftorch eval`, `lifetime` and `decide` do.\n"
    )
    return f"{head}\n```yaml\n{_EXAMPLE}```\n\n{_tables(manifest_schema())}"


def settings_page() -> str:
    """Every key of ftorch.toml."""
    head = (
        "# Settings\n\n`ftorch.toml`: the nearest one in the working folder or above it, over the user's own in the "
        "configuration folder, key by key.\n"
    )
    return f"{head}\n{_tables(settings_schema())}"


def cli_page() -> str:
    """Every command with its options."""
    group = LazyGroup(_COMMANDS)
    # As `run` makes it: click keeps the help option that a command was first asked for.
    context = click.Context(group, info_name="ftorch", help_option_names=["-h", "--help"])
    return "# Command line\n\n" + "\n".join(_commands(group, context, "ftorch"))


def errors_page() -> str:
    """The error tree and the exit codes."""
    drawn = "\n".join(line for line in (errors.__doc__ or "").splitlines() if line.startswith("    "))
    head = "# Errors and exit codes\n\nThe number is the exit code. 0 is success, 130 an interruption."
    return f"{head}\n\n```\n{drawn}\n```\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "manifest.md": manifest_page,
    "settings.md": settings_page,
    "cli.md": cli_page,
    "errors.md": errors_page,
    "data-rules.md": markdown,
}


def _tables(schema: Mapping[str, Any]) -> str:
    models = {"": schema, **schema["$defs"]}
    return "\n".join(_table(name, model) for name, model in models.items() if "properties" in model)


def _table(name: str, model: Mapping[str, Any]) -> str:
    title = f"## {name}\n\n" if name else ""
    words = f"{model['description']}\n\n" if name and "description" in model else ""
    required = set(model.get("required", ()))
    rows = [
        f"| `{key}` | {_type(field)} | {_default(key, field, required)} | {field.get('description', '')} |"
        for key, field in model["properties"].items()
    ]
    return f"{title}{words}| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(_type(one) for one in field[key] if one.get("type") != "null")
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("type", "any"))


def _default(key: str, field: Mapping[str, Any], required: set[str]) -> str:
    if key in required:
        return "required"
    value = field.get("default")
    return "" if value is None or isinstance(value, dict | list) else f"`{value}`"


def _commands(command: click.Command, context: click.Context, name: str) -> Iterator[str]:
    if name != "ftorch":
        yield f"## {name}\n\n```\n{_help(command, context)}\n```\n"
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            found = command.get_command(context, word)
            if found is not None:
                inner = click.Context(found, info_name=word, parent=context, max_content_width=110, terminal_width=110)
                yield from _commands(found, inner, f"{name} {word}")


def _help(command: click.Command, context: click.Context) -> str:
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())
        print(f"wrote docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
