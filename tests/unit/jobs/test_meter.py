from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace

import pytest

from ftorch.core import log
from ftorch.core.clock import ManualClock
from ftorch.core.errors import FtorchError
from ftorch.core.redact import REDACTED
from ftorch.jobs.engine import Engine
from ftorch.jobs.meter import BUG, OK, metered
from unit.jobs.cloud import NAME, Cloud, CloudProvider
from unit.jobs.desk import Desk
from unit.plans import plan


class Tally:
    """A meter that remembers."""

    def __init__(self) -> None:
        self.steps: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[tuple[str, str, str]] = Counter()

    def step(self, kind: str, outcome: str) -> None:
        self.steps[kind, outcome] += 1

    def call(self, provider: str, operation: str, outcome: str) -> None:
        self.calls[provider, operation, outcome] += 1


def test_a_call_is_counted_with_its_outcome_and_its_answer_passed_on() -> None:
    tally = Tally()
    provider = CloudProvider(Cloud(ManualClock()))
    seen = metered(lambda _name: provider, tally)(NAME)

    assert seen.check() == provider.check()
    assert tally.calls == {(NAME, "check", OK): 1}


def test_what_is_not_a_call_is_not_counted() -> None:
    tally = Tally()
    provider = CloudProvider(Cloud(ManualClock()))
    seen = metered(lambda _name: provider, tally)(NAME)

    assert (seen.name, seen.capabilities) == (NAME, provider.capabilities)
    assert not tally.calls


@pytest.mark.parametrize(("error", "outcome"), [(FtorchError("no"), "internal"), (ValueError("no"), BUG)])
def test_an_error_is_counted_and_raised_as_it_was(
    monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: str
) -> None:
    def refuse(_provider: CloudProvider) -> None:
        raise error

    monkeypatch.setattr(CloudProvider, "check", refuse)
    tally = Tally()
    seen = metered(lambda _name: CloudProvider(Cloud(ManualClock())), tally)(NAME)

    with pytest.raises(type(error)) as caught:
        seen.check()

    assert caught.value is error
    assert tally.calls == {(NAME, "check", outcome): 1}


def test_a_step_is_counted_and_its_lines_say_whose_it_is(desk: Desk) -> None:
    tally, stream = Tally(), io.StringIO()
    desk.engine.close()
    desk.engine = Engine(desk.context, tally)
    desk.cloud.faults = ["unreachable"]
    log.configure(stream)

    job_id = desk.submit()
    desk.finish(job_id)
    log.silence()

    [failed] = [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == "step failed"]
    assert (failed["job"], failed["run"]) == (job_id, desk.runs(job_id)[0].key)
    assert (tally.steps["submit", "provider_unavailable"], tally.steps["submit", OK]) == (1, 1)
    assert tally.steps["observe", OK] > 1


def test_the_secrets_of_a_manifest_are_concealed_before_a_step_has_them(desk: Desk) -> None:
    context = replace(desk.context, env={"WANDB": "w-123"})

    assert context.secrets(plan(secrets={"WANDB_API_KEY": "env:WANDB"})) == {"WANDB_API_KEY": "w-123"}
    assert context.redactor.text("the key is w-123") == f"the key is {REDACTED}"
