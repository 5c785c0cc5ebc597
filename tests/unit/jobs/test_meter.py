from __future__ import annotations

from collections import Counter

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import FtorchError
from ftorch.jobs.meter import BUG, OK, metered
from unit.jobs.cloud import NAME, Cloud, CloudProvider


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
