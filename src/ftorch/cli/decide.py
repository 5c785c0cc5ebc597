"""`ftorch decide`: fine-tune, prompt, retrieve, or do not?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from ftorch.cli.common import json_option, make_client
from ftorch.cli.output import print_json, say, table
from ftorch.core.errors import UsageError

if TYPE_CHECKING:
    from ftorch.jobs.advice.decision import Decision

_EXIT = {"fine_tune": 0, "prompt": 12, "retrieve": 12, "do_not": 12, "unknown": 13}


@click.command()
@click.argument("subject", metavar="[MANIFEST|JOB]", required=False)
@click.option("--start", type=click.DateTime(["%Y-%m-%d"]), help="The day on which it begins; today when not given.")
@click.option("--symptoms", "lists", is_flag=True, help="List the symptoms that `task.symptoms` may name, with advice.")
@json_option
def decide(subject: str | None, *, start: datetime | None, lists: bool, as_json: bool) -> int:
    """Whether to fine-tune, from evidence: prompting, retrieval or tools, and volume.

    Sends nothing. Exit code 12 when the answer is another than to fine-tune, 13 when something was not measured.
    """
    if lists:
        return _list_symptoms(as_json=as_json)
    if subject is None:
        raise UsageError("decide about what?", hint="give a manifest or a job; --symptoms lists the symptoms")
    with make_client() as client:
        found = client.decide(subject, start=start.date() if start else None)
    print_json(found) if as_json else _show(found)
    return _EXIT[found.answer.value]


def _list_symptoms(*, as_json: bool) -> int:
    from ftorch.jobs.advice.symptoms import symptoms

    if as_json:
        print_json(symptoms())
    else:
        rows = [(one.name, one.words, one.answer.replace("_", " "), one.advice) for one in symptoms()]
        table(("symptom", "what is wrong", "answer", "first"), rows)
    return 0


def _show(found: Decision) -> None:
    for symptom in found.symptoms:
        say(f"symptom {symptom.name}: {symptom.words}: {symptom.advice}")
    table(
        ("condition", "holds", "evidence"),
        [(one.name.replace("_", " "), one.finding.value, one.words) for one in found.conditions],
    )
    for warning in found.warnings:
        say(warning)
    click.echo(f"\nrule: {found.rule}")
    click.echo(f"answer: {found.answer.replace('_', ' ')}: {found.reason}")
    if found.ruled_out:
        click.echo(f"in any case not: {', '.join(one.replace('_', ' ') for one in found.ruled_out)}")
    for change in found.would_change:
        click.echo(f"would be {change.answer.replace('_', ' ')} with {change.words}")
    if found.next_step:
        say(f"hint: {found.next_step}")
