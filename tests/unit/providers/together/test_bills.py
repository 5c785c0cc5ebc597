"""The bill, against the emulator's own and on single lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from contract.together_bench import TogetherBench
from ftorch.core.errors import BillNotEnabledError
from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, Window
from ftorch.emulators.together import ORGANISATION, TogetherEmulator
from ftorch.emulators.together.strangers import add_strangers
from ftorch.providers.together import api
from ftorch.providers.together.bills import reference
from ftorch.store import sql

USAGE = "GET /v1/billing/usage"
HOUR = datetime(2026, 11, 1, 12, tzinfo=UTC)
WIDE = Window(HOUR - timedelta(days=1), HOUR + timedelta(days=2))


def items(bench: TogetherBench, window: Window = WIDE) -> list[LineItem]:
    return list(bench.bills.line_items(window))


def spend(found: list[LineItem], key: str) -> Decimal:
    return sum(
        (item.amount.amount for item in found if item.run_key == key and item.kind in sql.SPEND_KINDS), Decimal(0)
    )


def test_a_bill_that_may_not_be_read_is_no_failure_of_ours(bench: TogetherBench) -> None:
    bench.service.billing_enabled.clear()

    with pytest.raises(BillNotEnabledError) as caught:
        items(bench)

    assert ORGANISATION in caught.value.message
    assert "support" in (caught.value.hint or "")
    assert caught.value.request_id


def test_the_lines_of_a_run_add_up_to_what_it_truly_costs(bench: TogetherBench) -> None:
    run = bench.submit()
    bench.finish(run)
    bench.advance(7200)

    truth = bench.service.truth(bench.service.newest(run.key))

    assert spend(items(bench), run.key) == truth == Decimal("4.00")


def test_a_refund_lowers_spend(bench: TogetherBench) -> None:
    run = bench.submit()
    bench.finish(run)
    bench.service.refund(bench.service.newest(run.key), Decimal("1.25"))
    bench.advance(7200)

    found = items(bench)

    assert spend(found, run.key) == Decimal("2.75")
    assert [item.kind for item in found if item.amount.amount < 0] == [EntryKind.ADJUSTED]


def test_a_credit_stands_beside_what_it_has_covered(bench: TogetherBench) -> None:
    add_strangers(bench.service)
    bench.advance(7200)

    found = items(bench)

    [credit] = [item for item in found if item.kind is EntryKind.CREDIT]
    [covered] = [item for item in found if f"{item.source_ref}/credit" == credit.source_ref]
    assert credit.amount == -covered.amount
    assert covered.kind is EntryKind.BILLED


def test_a_line_of_another_installation_carries_its_key_and_those_of_strangers_carry_none(
    bench: TogetherBench,
) -> None:
    for _ in add_strangers(bench.service):
        bench.advance(100)
    bench.advance(7200)

    keys = {item.run_key for item in items(bench)}

    assert keys == {None, "ft-zzzzzz-01m853egkdvypddzfanrkc5c05"}


def test_a_bill_without_lines_asks_for_no_jobs(bench: TogetherBench, emulator: TogetherEmulator) -> None:
    assert items(bench) == []

    assert emulator.requests["GET /v1/fine-tunes"] == 0


def test_each_month_of_a_window_is_asked_for_and_none_that_is_to_come(
    bench: TogetherBench, emulator: TogetherEmulator
) -> None:
    items(bench, Window(HOUR - timedelta(days=40), HOUR + timedelta(days=40)))

    assert emulator.requests[USAGE] == 3


def usage(**changes: Any) -> api.Usage:
    line: dict[str, Any] = {
        "product_name": "Fine-Tuning SFT (Per 1M Tokens)",
        "quantity": "8.5",
        "unit_price": "0.48",
        "cost": "4.08",
        "attributes": {"fine_tune_job_id": "ft-1", "project_id": "p"},
        "pricing_dimensions": {"model": "Qwen/Qwen3-8B"},
    }
    return api.Usage.model_validate({**line, **changes})


def test_a_line_keeps_its_reference_when_its_numbers_change() -> None:
    assert reference(HOUR, usage(cost="4.10", quantity="8.6", unit_price="0.50")) == reference(HOUR, usage())


@pytest.mark.parametrize(
    "changes",
    [
        {"product_name": "Fine-Tuning DPO"},
        {"attributes": {"fine_tune_job_id": "ft-2", "project_id": "p"}},
        {"pricing_dimensions": {"model": "Qwen/Qwen3-14B"}},
        {"applied_credit": {"type": "PREPAID"}},
    ],
)
def test_another_line_has_another_reference(changes: dict[str, Any]) -> None:
    assert reference(HOUR, usage(**changes)) != reference(HOUR, usage())
    assert reference(HOUR + timedelta(hours=1), usage()) != reference(HOUR, usage())


def test_lines_that_differ_in_their_price_alone_are_two(bench: TogetherBench) -> None:
    run = bench.submit()
    bench.finish(run)
    job = bench.service.newest(run.key)
    bench.service.refund(job, Decimal("0.25"))
    bench.service.refund(job, Decimal("0.50"))
    bench.advance(7200)

    refunds = [item for item in items(bench) if item.kind is EntryKind.ADJUSTED]

    assert {item.amount for item in refunds} == {Money(Decimal("-0.25")), Money(Decimal("-0.50"))}
    assert len({item.source_ref for item in refunds}) == 2
