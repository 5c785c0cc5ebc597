"""What an installation is opened with: one clock for the engine and its providers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ftorch.client import Client
from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids, run_key
from ftorch.jobs.quiet import SEND_WINDOW
from ftorch.providers import registry
from ftorch.providers.base import Placement, RunOrder, Staged
from sample.emulator import KEY, AcmeEmulator
from sample.settings import KEY_VARIABLE, URL_VARIABLE
from unit.plans import plan


@pytest.fixture
def wall() -> ManualClock:
    return ManualClock()


@pytest.fixture
def client(tmp_path: Path, wall: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """An installation that knows acme."""
    monkeypatch.setattr(registry, "OURS", {"acme": registry.Entry("sample.provider:AcmeProvider")})
    with AcmeEmulator(ManualClock()) as acme:
        env = {"FTORCH_HOME": str(tmp_path / "home"), KEY_VARIABLE: KEY, URL_VARIABLE: acme.url}
        with Client(env, tmp_path, wall) as made:
            yield made


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_create_is_sent_although_the_wall_clock_was_set_after_the_start(
    client: Client, wall: ManualClock, hours: int
) -> None:
    context = client.context()
    provider = context.open_provider("acme")
    wall.jump(timedelta(hours=hours).total_seconds())

    ref = provider.submit(
        RunOrder(
            key=run_key(context.installation, Ids().ulid(context.clock.now())),
            plan=plan(),
            staged=Staged(True, "0" * 64),
            placement=Placement("acme-a100", None),
            send_before=context.clock.now() + SEND_WINDOW,
            max_duration_s=None,
        )
    )

    assert provider.find([ref.key]) == {ref.key: [ref]}
    provider.close()
