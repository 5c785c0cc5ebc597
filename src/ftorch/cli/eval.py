"""`ftorch eval`: base against tuned, or hosted against tuned, on rows that nobody trained on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ftorch.cli.common import json_option, make_client
from ftorch.cli.output import duration, print_json, say, table
from ftorch.core import log
from ftorch.core.errors import UsageError
from ftorch.core.files import write_text
from ftorch.evals.gate import Verdict
from ftorch.evals.report import Difference, Figure
from ftorch.jobs.evaluate import EvaluationReport
from ftorch.manifest.credentials import environment, secret_values
from ftorch.manifest.evaluation import Hosted

_EXIT = {None: 0, Verdict.PASS: 0, Verdict.FAIL: 12, Verdict.INCONCLUSIVE: 13}
_SHOWN_CONFUSIONS = 5
_ADDRESS = ("http://", "https://")


@click.command()
@click.argument("subject", metavar="JOB|ADAPTER|MANIFEST")
@click.option(
    "--against",
    multiple=True,
    metavar="MODEL",
    help="base, hosted, an adapter, or an OpenAI-compatible URL; what the manifest says when not given.",
)
@click.option("--model", help="With a URL: the model's name there.")
@click.option("--api-key", metavar="env:NAME", help="With a URL: the variable that holds its key.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True, help="With a URL.")
@click.option(
    "--scores",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Answers of the hosted model that another tool wrote: lines of {row_sha256, output}.",
)
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    help="Write the held-out prompts for such a tool, and do nothing else.",
)
@json_option
def evaluate(
    subject: str,
    *,
    against: tuple[str, ...],
    model: str | None,
    api_key: str | None,
    max_tokens: int,
    scores: Path | None,
    prompts: Path | None,
    as_json: bool,
) -> int:
    """Judge an adapter on its held-out rows.

    Exit code 12 when the manifest's gate fails, 13 when it is inconclusive. What was answered is kept: the same
    command again asks nobody twice.
    """
    if prompts:
        return _write_prompts(subject, prompts)
    names, hosted = _hosted(against, model, api_key, max_tokens)
    # Without it structlog prints to stdout, where the answer belongs.
    log.configure(sys.stderr, secrets=secret_values(environment(os.environ, Path.cwd()).mapping()))
    with make_client() as client:
        report = client.evaluate(subject, against=names, hosted=hosted, scores=scores)
    print_json(report) if as_json else _show(report)
    return _EXIT[report.verdict]


def _write_prompts(subject: str, path: Path) -> int:
    with make_client() as client:
        rows = client.prompts(subject)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    say(f"{len(rows)} prompts are in {path}; answer each as {{row_sha256, output}}, then give the file as --scores")
    return 0


def _hosted(
    against: Sequence[str], model: str | None, api_key: str | None, max_tokens: int
) -> tuple[list[str], Hosted | None]:
    """The names to compare with, and the endpoint that a URL among them stands for."""
    urls = [name for name in against if name.startswith(_ADDRESS)]
    if not urls:
        return list(against), None
    if len(urls) > 1:
        raise UsageError("one endpoint at a time", hint="run `ftorch eval` once for each URL")
    if model is None:
        raise UsageError(f"which model answers at {urls[0]}?", hint="add --model NAME")
    if api_key is not None and not api_key.startswith("env:"):
        raise UsageError("--api-key names a variable, never the key itself", hint="write --api-key env:NAME")
    names = ["hosted" if name == urls[0] else name for name in against]
    return names, Hosted(url=urls[0], model=model, api_key=api_key, max_tokens=max_tokens)


def _show(report: EvaluationReport) -> None:
    say(f"{report.name}: {report.rows} held-out rows, adapter in {report.adapter}")
    compared = report.comparison
    table(
        ("metric", "model", "figure", f"{100 * _confidence(report):.3g} % interval", "tuned is better by", "p"),
        [
            _line(figure, next((d for d in compared.differences if _is_of(d, figure)), None))
            for figure in compared.figures
        ],
        right=(2,),
    )
    for model in report.models:
        _say_how(report, model.name)
    for words in _confusions(report):
        say(words)
    if compared.gate:
        for check in compared.gate.checks:
            say(f"gate: {check}")
        say(f"verdict: {compared.gate.verdict.value}")
        for words in compared.gate.warnings:
            say(f"gate: {words}")
    for words in report.warnings:
        say(f"warning: {words}")
    say(f"hint: `ftorch lifetime {report.job}` tells whether it pays")


def _confidence(report: EvaluationReport) -> float:
    return next((one.interval.confidence for one in report.comparison.figures if one.interval), 0.95)


def _line(figure: Figure, difference: Difference | None) -> tuple[str, ...]:
    interval = f"{figure.interval.low:.3f} to {figure.interval.high:.3f}" if figure.interval else "-"
    return (
        figure.metric,
        figure.model,
        f"{figure.value:.3f}",
        interval,
        f"{difference.difference:+.3f} ({difference.interval.low:+.3f} to {difference.interval.high:+.3f})"
        if difference
        else "",
        _p(difference.p_value) if difference else "",
    )


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def _is_of(difference: Difference, figure: Figure) -> bool:
    return (difference.metric, difference.reference) == (figure.metric, figure.model)


def _say_how(report: EvaluationReport, name: str) -> None:
    model = next(one for one in report.models if one.name == name)
    parts = [f"{name} on {model.source}"]
    if model.seconds is not None:
        parts.append(duration(round(model.seconds)))
    if model.p50_latency_ms is not None:
        parts.append(f"latency {model.p50_latency_ms:.0f} ms, 19 of 20 within {model.p95_latency_ms or 0:.0f} ms")
    if model.cost_per_call is not None:
        parts.append(f"{model.cost_per_call} per call (declared price)")
    say(", ".join(parts))


def _confusions(report: EvaluationReport) -> list[str]:
    """The pairs of labels that the tuned model mixes up most."""
    table_of = report.comparison.confusion or {}
    wrong = [
        (count, reference, answer)
        for reference, answers in table_of.items()
        for answer, count in answers.items()
        if answer != reference
    ]
    return [
        f"mixed up: {reference} answered as {answer}, {count} times"
        for count, reference, answer in sorted(wrong, reverse=True)[:_SHOWN_CONFUSIONS]
    ]
