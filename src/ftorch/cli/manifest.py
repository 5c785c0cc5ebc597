"""`ftorch init`, `schema`, `validate`, `plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftorch.cli.common import json_option, make_client, manifest_argument
from ftorch.cli.output import duration, print_json, say, table
from ftorch.core.errors import UsageError

if TYPE_CHECKING:
    from ftorch.client import Client
    from ftorch.costs.estimate import Estimate
    from ftorch.jobs.preview import PlanView

_PROVIDERS = ("local", "together", "modal", "lambda", "anyscale", "ray", "ssh")


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("job.yaml"))
@click.option("--provider", type=click.Choice(_PROVIDERS), default="local", show_default=True)
@click.option("--method", type=click.Choice(["sft", "dpo"]), default="sft", show_default=True)
@click.option("--name", help="The job's name; the file's name when not given.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(path: Path, *, provider: str, method: str, name: str | None, force: bool) -> int:
    """Write a commented manifest to PATH (job.yaml when not given)."""
    from ftorch.core.files import write_text
    from ftorch.manifest.templates import render

    if path.exists() and not force:
        raise UsageError(f"{path} is there already", hint="give another path, or --force to replace it")
    write_text(path.absolute(), render(provider, method, name or path.stem.lower().replace("_", "-")))
    say(f"wrote {path}")
    say(f"hint: fill in dataset.path, then run `ftorch validate {path}` and `ftorch plan {path}`")
    return 0


@click.command()
@click.argument("what", type=click.Choice(["manifest", "settings", "output"]))
@click.argument("name", required=False)
def schema(what: str, name: str | None) -> int:
    """Print a JSON schema: of the manifest, of ftorch.toml, or of an output (`ftorch schema output jobs`)."""
    if what == "output":
        from ftorch.cli.shapes import output_schema

        click.echo(json.dumps(output_schema(name), indent=2))
        return 0
    from ftorch.manifest.json_schema import manifest_schema, settings_schema

    click.echo(json.dumps(manifest_schema() if what == "manifest" else settings_schema(), indent=2))
    return 0


@click.command()
@manifest_argument
@json_option
def validate(manifest: Path, *, as_json: bool) -> int:
    """Check MANIFEST and every row of its data. Writes nothing, sends nothing."""
    with make_client() as client:
        view = client.plan(manifest)
    for warning in view.warnings:
        say(warning)
    facts = view.plan.dataset
    if as_json:
        print_json({"valid": True, "warnings": view.warnings, "plan_hash": view.plan_hash})
    else:
        say(
            f"{manifest} is valid: {facts.train_rows} training, {facts.validation_rows} validation and "
            f"{facts.held_out_rows} held-out rows"
        )
    return 0


@click.command()
@manifest_argument
@click.option("--compare", is_flag=True, help="Every provider side by side: dollars, hours, memory, what is refused.")
@click.option("--live", is_flag=True, help="With --compare: ask the providers whose credentials are set. Reads only.")
@json_option
def plan(manifest: Path, *, compare: bool, live: bool, as_json: bool) -> int:
    """Resolve MANIFEST: what would be trained, on which rows, and our estimate. Sends nothing."""
    if live and not compare:
        raise UsageError("--live belongs to --compare", hint=f"run `ftorch plan {manifest} --compare --live`")
    with make_client() as client:
        if compare:
            return _compare(client, manifest, live=live, as_json=as_json)
        view = client.plan(manifest)
    if as_json:
        print_json({**_plan_object(view)})
        return 0
    for warning in view.warnings:
        say(warning)
    show_changes(view)
    _show_plan(view)
    show_estimate(view)
    if view.standing_job:
        say(f"this plan already has job {view.standing_job}")
    return 0


def _compare(client: Client, manifest: Path, *, live: bool, as_json: bool) -> int:
    from ftorch.cli.compare import show_comparison

    found = client.compare(manifest, live=live)
    print_json(found) if as_json else show_comparison(found)
    return 0


def show_changes(view: PlanView) -> None:
    """What differs from the last job of this name."""
    for key, then, now in view.changes:
        say(f"changed since the last job: {key}: {then} -> {now}")


def show_estimate(view: PlanView) -> None:
    """The estimate with its interval and its source; never called cost."""
    computed = view.estimate
    if view.picked:
        say(f"provider: {view.picked.reason}")
    say(f"estimate: {_time(computed)} on {view.provider}, {computed.basis}")
    if computed.amount is None:
        say(f"estimate: price unknown ({computed.lines[0].source})")
    else:
        say(
            f"estimate: {computed.amount} ({computed.amount_low} to {computed.amount_high}), {computed.lines[0].source}"
        )
    if view.price_source not in ("declared", "none"):
        say(f"live check of {view.provider}: {view.live_check}")


def _time(computed: Estimate) -> str:
    """How long it takes, with its interval; a provider that bills by tokens does not say."""
    seconds, low, high = computed.seconds, computed.seconds_low, computed.seconds_high
    if seconds is None or low is None or high is None:
        return "time unknown"
    return f"{duration(seconds)} ({duration(low)} to {duration(high)})"


def _show_plan(view: PlanView) -> None:
    plan, facts = view.plan, view.plan.dataset
    tokens = f"{facts.train_tokens:,} ({facts.token_source})"
    table(
        ("what", "value"),
        [
            ("name", plan.name),
            ("plan", view.plan_hash[:12]),
            ("base model", plan.base_model.id),
            ("method", f"{plan.method.type}, LoRA rank {plan.method.lora.rank}, {plan.method.epochs:g} epochs"),
            ("rows", f"{facts.train_rows} train, {facts.validation_rows} validation, {facts.held_out_rows} held-out"),
            ("tokens per epoch", tokens),
            ("longest row", f"{facts.longest_row_tokens:,} of {plan.method.max_length:,} tokens"),
            ("provider", ", ".join(plan.providers)),
            ("budget", str(plan.budget.limit) if plan.budget else "none"),
        ],
    )
    for words in view.sample_size:
        say(f"gate: {words}")


def _plan_object(view: PlanView) -> dict[str, object]:
    return {
        "plan_hash": view.plan_hash,
        "plan": json.loads(view.plan.to_json()),
        "estimate": view.estimate,
        "provider": view.provider,
        "live_check": view.live_check,
        "standing_job": view.standing_job,
        "changes": [{"key": key, "then": then, "now": now} for key, then, now in view.changes],
        "sample_size": view.sample_size,
        "warnings": view.warnings,
        "picked": view.picked,
    }
