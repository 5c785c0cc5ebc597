"""One job at Together while anything breaks once: each request of its life fails in turn, then ftorch starts anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.together_bench import qwen, write_rows
from crash.any_request import BUDGET, FAULTS, Service, assert_one_job_is_paid_and_comes_home
from ftorch.core.clock import ManualClock
from ftorch.emulators.server import Fault
from ftorch.emulators.together import KEY, ORGANISATION, TogetherEmulator
from ftorch.providers.http import Http
from ftorch.providers.together.provider import TogetherProvider
from ftorch.providers.together.settings import Settings
from unit.jobs.desk import Desk


def _opened(emulator: TogetherEmulator, clock: ManualClock) -> TogetherProvider:
    http = Http("together", emulator.url, clock=clock, key=KEY, timeout_s=5, create_timeout_s=0.5)
    return TogetherProvider(http, clock, Settings(emulator.url, KEY))


def _submitted(desk: Desk) -> str:
    job_id = desk.submit(qwen().model_copy(update={"budget": BUDGET}), "together")
    write_rows(Path(desk.job(job_id).dataset) / "train.jsonl", 32)
    return job_id


TOGETHER = Service(
    account=f"together/{ORGANISATION}",
    emulate=lambda _folder, clock: TogetherEmulator(clock),
    open_provider=_opened,
    submit=_submitted,
    settles_s=25 * 3600,
)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_request_fails_one_job_is_paid_and_comes_home(tmp_path: Path, fault: Fault) -> None:
    assert_one_job_is_paid_and_comes_home(TOGETHER, tmp_path, fault)
