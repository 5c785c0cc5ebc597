"""Together's emulator and the provider on it, with what the suites must be able to do to both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from contract.bills_contract import BillsBench, Expected
from contract.emulated import EmulatedBench, fault_table
from contract.stages_contract import StagesBench
from contract.wire_contract import Traffic, WireFault
from ftorch.core.clock import ManualClock
from ftorch.costs.items import Window
from ftorch.emulators.together import KEY, ORGANISATION, OTHER_KEY, Service, TogetherEmulator
from ftorch.emulators.together.bill import Line
from ftorch.emulators.together.strangers import add_strangers
from ftorch.jobs.bundle import make_bundle
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import BaseModelRef, RetryEvent
from ftorch.providers.base import Bills, Bundle, Observation, RunRef, RunState, Stages
from ftorch.providers.http import Http
from ftorch.providers.together import api, bills
from ftorch.providers.together.provider import TogetherProvider
from ftorch.providers.together.settings import KEY_VARIABLE, URL_VARIABLE, Settings
from unit.plans import plan

_EVER = Window(ManualClock().now() - timedelta(days=1), ManualClock().now() + timedelta(days=1))
_PAGE = 2
"""Windows in a page of the bill."""


class TogetherBench(EmulatedBench[TogetherEmulator, TogetherProvider], BillsBench, StagesBench):
    """Together in memory; time passes when it is told to."""

    faults = fault_table(
        create=("POST /v1/fine-tunes",),
        lists=("GET /v1/fine-tunes",),
        single=("GET /v1/fine-tunes/{id}",),
        cancel=("POST /v1/fine-tunes/{id}/cancel",),
        downloads=("GET /v1/finetune/download",),
        without=(WireFault.CREATE_NO_CAPACITY,),
    )
    key_variable = KEY_VARIABLE
    key, other_key, refused_key = KEY, OTHER_KEY, "tgp_v1_a-key-that-expired"
    killed = (RunState.FAILED, RetryEvent.PROVIDER_ERROR)

    def __init__(self, emulator: TogetherEmulator, clock: ManualClock, folder: Path) -> None:
        write_rows(folder / "train.jsonl", 32)
        one = qwen()
        env = {KEY_VARIABLE: KEY, URL_VARIABLE: emulator.url}
        super().__init__(emulator, clock, plan=one, bundle=make_bundle(one, folder), env=env)
        self.bills: Bills = self.provider
        self.stages: Stages = self.provider
        self.stages_of_another: Stages = self.of_another_account()

    @property
    def service(self) -> Service:
        return self.emulator.service

    def fail(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self.service.end(self.service.newest(ref.key), "user_error", "the loss is not a number")
        return self.until(RunState.FAILED, ref)

    def kill(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self.service.end(self.service.newest(ref.key), "error", "a machine was lost")
        return self.until(RunState.FAILED, ref)

    def damage(self, ref: RunRef) -> None:
        self.service.damage(self.service.newest(ref.key))

    def traffic(self) -> Traffic:
        asked = self.emulator.requests
        return Traffic(
            creates=asked["POST /v1/fine-tunes"],
            lists=asked["GET /v1/fine-tunes"],
            singles=asked["GET /v1/fine-tunes/{id}"],
            contents=asked["PUT /upload/{id}"],
            writes=self.writes(),
            downloaded=self.emulator.bytes_sent["GET /v1/finetune/download"],
        )

    def made(self, key: str) -> int:
        return self.service.creates[key]

    def hide_new_runs(self, seconds: float) -> None:
        self.service.listing_lag_s = seconds

    def vanish(self, ref: RunRef) -> None:
        self.service.forget(self.service.newest(ref.key))

    def fill_content(self) -> int:
        self.staged()
        for number in range(3):
            self.service.files.keep(ORGANISATION, f'{{"text": "row {number}"}}\n'.encode())
        return sum(1 for _ in self.service.files.of(ORGANISATION))

    def fill(self) -> Expected:
        self.service.bill_page_limit = _PAGE
        add_strangers(self.service)
        for _ in range(4):
            self.submit()
            self.advance(3600)
        self.advance(3600)
        amounts = {ref: usd for line in self._lines() for ref, usd in _told(line)}
        return Expected(_EVER, amounts, _PAGE)

    def correct(self, source_ref: str, usd: Decimal) -> None:
        self.service.correct(next(line for line in self._lines() if _told(line)[0][0] == source_ref), usd)
        self.wait()

    def make_provider(self, url: str, key: str) -> TogetherProvider:
        clock = self.clock
        http = Http("together", url, clock=clock, key=key, key_variable=KEY_VARIABLE, timeout_s=5, create_timeout_s=0.5)
        return TogetherProvider(http, clock, Settings(url, key))

    def _lines(self) -> list[Line]:
        return list(self.service.bill(ORGANISATION, _EVER.start, _EVER.end))


def _told(line: Line) -> list[tuple[str, Decimal]]:
    """A line of the service's as we refer to it, and the credit that has covered it."""
    as_read = api.Usage(
        product_name=line.product_name,
        quantity=line.quantity,
        unit_price=line.unit_price,
        cost=line.cost,
        pricing_dimensions=line.pricing_dimensions,
        attributes=line.attributes,
        applied_credit=api.Credit(type=line.applied_credit) if line.applied_credit else None,
    )
    ref = bills.reference(line.start, as_read)
    return [(ref, line.cost), *([(f"{ref}/credit", -line.cost)] if line.applied_credit == "CREDIT" else [])]


def qwen() -> Plan:
    return plan(providers=("together",), base_model=BaseModelRef(id="Qwen/Qwen3-8B"), parameters=8_200_000_000)


def bundle_of(rows: Sequence[Mapping[str, Any]], folder: Path, plan: Plan) -> Bundle:
    """A bundle of these rows, in a folder of its own."""
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return make_bundle(plan, folder)


PREFERENCE = {
    "prompt": [{"role": "user", "content": "2 + 2"}],
    "chosen": [{"role": "assistant", "content": "4"}],
    "rejected": [{"role": "assistant", "content": "5"}],
}
"""A row for DPO, as the bundle has it."""


def write_rows(path: Path, count: int) -> None:
    """Rows as the bundle has them."""
    rows = [
        {
            "prompt": [{"role": "user", "content": f"{number} + 2"}],
            "completion": [{"role": "assistant", "content": f"{number + 2}"}],
        }
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
