"""One job at Anyscale while anything breaks once: each request of its life fails in turn, then ftorch starts anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.anyscale_stand_in import StandIn
from contract.bucket import open_bucket
from crash.any_request import BUDGET, FAULTS, Service, assert_one_job_is_paid_and_comes_home
from ftorch.core.clock import ManualClock
from ftorch.emulators.anyscale import ORGANISATION, TOKEN, AnyscaleEmulator
from ftorch.emulators.server import Fault
from ftorch.providers.anyscale.provider import AnyscaleProvider
from ftorch.providers.anyscale.settings import cookie
from ftorch.providers.http import Http
from unit.jobs.desk import Desk
from unit.plans import plan


def _emulated(folder: Path, clock: ManualClock) -> AnyscaleEmulator:
    bucket = open_bucket("tiny", folder / "bucket")
    return AnyscaleEmulator(clock, work=StandIn(clock, bucket.folder))


def _opened(emulator: AnyscaleEmulator, clock: ManualClock) -> AnyscaleProvider:
    http = Http("anyscale", emulator.url, clock=clock, key=TOKEN, authorized=cookie, timeout_s=5, create_timeout_s=0.5)
    return AnyscaleProvider(http, clock)


def _submitted(desk: Desk) -> str:
    options = {"anyscale": {"output_uri": "bucket://tiny/runs"}}
    return desk.submit(plan(providers=("anyscale",), options=options, budget=BUDGET), "anyscale")


ANYSCALE = Service(
    account=f"anyscale/{ORGANISATION}",
    emulate=_emulated,
    open_provider=_opened,
    submit=_submitted,
    settles_s=73 * 3600,
)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_request_fails_one_job_is_paid_and_comes_home(tmp_path: Path, fault: Fault) -> None:
    assert_one_job_is_paid_and_comes_home(ANYSCALE, tmp_path, fault)
