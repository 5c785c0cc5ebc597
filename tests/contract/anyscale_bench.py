"""Anyscale's emulator and the provider on it, with what the suites must be able to do to both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from contract.anyscale_stand_in import STEP_S, StandIn
from contract.bills_contract import BillsBench, Expected
from contract.bucket import BucketFault, open_bucket
from contract.emulated import EmulatedBench, fault_table
from contract.provider_contract import DeadlineBench
from contract.rows import plan_with_rows
from contract.wire_contract import Traffic, WireFault
from ftorch.core.clock import ManualClock
from ftorch.costs.items import Window
from ftorch.emulators.adapters import damaged
from ftorch.emulators.anyscale import ORGANISATION, OTHER_TOKEN, TOKEN, AnyscaleEmulator, Service
from ftorch.emulators.anyscale.accounts import ACCOUNTS, COLLEAGUE_TOKEN
from ftorch.emulators.anyscale.emulator import CREATE, GET, LIST, TERMINATE
from ftorch.emulators.anyscale.jobs import Job
from ftorch.providers.anyscale.bills import reference
from ftorch.providers.anyscale.provider import AnyscaleProvider
from ftorch.providers.anyscale.settings import HOST_VARIABLE, TOKEN_VARIABLE, cookie
from ftorch.providers.base import Bills, Observation, RunOrder, RunRef, RunState
from ftorch.providers.http import Http

_WEIGHTS = "adapter_model.safetensors"
_DOWNLOADS: Mapping[WireFault, BucketFault] = {
    WireFault.DOWNLOAD_CUT: BucketFault.CUT,
    WireFault.DOWNLOAD_DAMAGED: BucketFault.DAMAGED,
}
_UPLOAD = "PUT /storage/{id}"
_WRITES = (CREATE, TERMINATE, _UPLOAD, "POST /api/v2/compute_templates/")
_EVER = Window(ManualClock().now() - timedelta(days=2), ManualClock().now() + timedelta(days=2))


class AnyscaleBench(EmulatedBench[AnyscaleEmulator, AnyscaleProvider], DeadlineBench, BillsBench):
    """Anyscale in memory; time passes when it is told to."""

    faults = fault_table(
        create=(CREATE,), lists=(LIST,), single=(GET,), cancel=(TERMINATE,), without=(WireFault.CREATE_NO_CAPACITY,)
    )
    key_variable = TOKEN_VARIABLE
    key, other_key, refused_key = TOKEN, OTHER_TOKEN, "aph0_that-has-expired"
    moment_s = STEP_S

    def __init__(self, emulator: AnyscaleEmulator, work: StandIn, clock: ManualClock, folder: Path) -> None:
        self.bucket = open_bucket("tiny", folder / "bucket")
        options = {"anyscale": {"output_uri": "bucket://tiny/runs"}}
        one, bundle = plan_with_rows(folder / "rows", providers=("anyscale",), options=options)
        self._work = work
        env = {TOKEN_VARIABLE: TOKEN, HOST_VARIABLE: emulator.url}
        super().__init__(emulator, clock, plan=one, bundle=bundle, env=env)
        self.bills: Bills = self.provider

    @property
    def service(self) -> Service:
        return self.emulator.service

    def job(self, ref: RunRef) -> Job:
        return self.service.newest(ref.key)

    def fail(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self._work.fail(self.job(ref).attempt_id, "the loss is not a number")
        return self.until(RunState.FAILED, ref)

    def kill(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self.service.lose(self.job(ref))
        return self.until(RunState.STOPPED, ref)

    def damage(self, ref: RunRef) -> None:
        path = self.bucket.folder / "runs" / ref.key / "adapter" / _WEIGHTS
        path.write_bytes(damaged({_WEIGHTS: path.read_bytes()})[_WEIGHTS])

    def slow_order(self) -> RunOrder:
        return self.order(max_duration_s=20)

    def script(self, fault: WireFault, *, times: int | None = 1) -> None:
        if fault in _DOWNLOADS:
            self.bucket.script(_DOWNLOADS[fault], times=times)
        else:
            super().script(fault, times=times)

    def heal(self) -> None:
        super().heal()
        self.bucket.clear()

    def traffic(self) -> Traffic:
        asked = self.emulator.requests
        return Traffic(
            creates=asked[CREATE],
            lists=asked[LIST],
            singles=asked[GET],
            contents=asked[_UPLOAD],
            writes=sum(asked[route] for route in _WRITES),
            downloaded=self.bucket.downloaded,
        )

    def made(self, key: str) -> int:
        return self.service.creates[key]

    def hide_new_runs(self, seconds: float) -> None:
        self.service.listing_lag_s = seconds

    def vanish(self, ref: RunRef) -> None:
        self.service.forget(self.job(ref))

    def fill(self) -> Expected:
        today = self.clock.now().date()
        colleague = ACCOUNTS[COLLEAGUE_TOKEN]
        self.service.use(colleague, today, Decimal("3.141592653"), workspace_id="wrk_1", workspace_name="notebook")
        self.service.use(colleague, today, Decimal("0.004"), job_id="prodjob_x", job_name="nightly-7b")
        for _ in range(4):
            self.finish(self.submit())
            self.advance(5 * 3600)
        self.advance(6 * 3600)
        amounts = {
            reference(row.day.isoformat(), row.cluster_id): row.usd
            for row in self.service.rows(ORGANISATION)
            if row.usd is not None
        }
        return Expected(_EVER, amounts, page_size=4)

    def correct(self, source_ref: str, usd: Decimal) -> None:
        cluster_id, _, day = source_ref.partition("/")
        self.service.posting.corrections[cluster_id, datetime.fromisoformat(day).date()] = usd
        self.wait()

    def make_provider(self, url: str, key: str) -> AnyscaleProvider:
        http = Http(
            "anyscale",
            url,
            clock=self.clock,
            key=key,
            key_variable=TOKEN_VARIABLE,
            authorized=cookie,
            timeout_s=5,
            create_timeout_s=0.5,
        )
        return AnyscaleProvider(http, self.clock)
