"""The bill: its windows, its pages, its lag, who is on it, and that it adds up to the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ftorch.core.clock import ManualClock
from ftorch.emulators.together import COLLEAGUE_KEY, KEY, ORGANISATION, OTHER_KEY, Service
from ftorch.emulators.together.accounts import ACCOUNTS
from ftorch.emulators.together.bill import JOB_ATTRIBUTE
from ftorch.emulators.together.jobs import Job
from ftorch.emulators.together.models import TARIFF
from ftorch.emulators.together.schemas import CreateFineTune, Lora
from ftorch.emulators.together.strangers import add_strangers
from ftorch.emulators.training import Instant
from unit.emulators.desk import MODEL, Desk, chats, jsonl

_EVER = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def windows(desk: Desk, **query: Any) -> Iterator[Any]:
    """Every window of a month, page by page."""
    after: dict[str, str] = {}
    while True:
        page = desk.get("/v1/billing/usage", **query, **after)
        yield from page["data"]
        if page["next_cursor"] is None:
            return
        after = {"after": page["next_cursor"]}


def cost_of(job: Job, found: Iterator[Any] | list[Any]) -> Decimal:
    items = (item for window in found for item in window["line_items"])
    return sum((Decimal(item["cost"]) for item in items if item["attributes"].get(JOB_ATTRIBUTE) == job.id), Decimal(0))


def a_long_job(desk: Desk) -> Job:
    """Trained over midnight and the change of the hour, for more than the minimum."""
    desk.clock.advance(11 * 3600 + 59 * 60 + 20)
    return desk.create(n_epochs=20, packing=False, max_seq_length=32_768)


def test_a_job_is_billed_by_the_hour_with_its_id(desk: Desk) -> None:
    job = a_long_job(desk)
    desk.clock.advance(2 * 3600)

    found = list(windows(desk, granularity="hour"))

    assert [window["start_time"] for window in found] == ["2026-11-01T23:00:00Z", "2026-11-02T00:00:00Z"]
    assert {window["date"] for window in found} == {"2026-11-01", "2026-11-02"}
    assert cost_of(job, found) == desk.emulator.service.truth(job) == Decimal("12.582912")
    for window in found:
        (item,) = window["line_items"]
        assert Decimal(item["quantity"]) * Decimal(item["unit_price"]) == Decimal(item["cost"])
        assert item["attributes"]["project_id"] == "proj-support"


def test_days_hold_what_their_hours_hold(desk: Desk) -> None:
    job = a_long_job(desk)
    desk.clock.advance(25 * 3600)

    days = list(windows(desk))

    assert [window["end_time"] for window in days] == ["2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"]
    assert cost_of(job, days) == cost_of(job, windows(desk, granularity="hour"))


def test_only_windows_that_are_over_are_shown_and_lines_come_late(desk: Desk) -> None:
    job = desk.create()
    desk.finish(job)
    path = "/v1/billing/usage"
    seen = []

    for seconds in (0, 3600 - 76, 900):
        desk.clock.advance(seconds)
        seen.append(desk.get(path, granularity="hour")["latest_window_end"])
    days = desk.get(path)["data"]
    desk.emulator.service.billing_lag_s = 3 * 3600
    seen.append(desk.get(path, granularity="hour")["latest_window_end"])

    assert seen == [None, "2026-11-01T13:00:00Z", "2026-11-01T13:00:00Z", None]
    assert days == []  # today is not over


def test_a_bill_comes_in_pages(desk: Desk) -> None:
    for _ in range(5):
        desk.finish(desk.create())
        desk.clock.advance(3600)
    desk.emulator.service.bill_page_limit = 2

    first = desk.get("/v1/billing/usage", granularity="hour", limit=1000)
    whole = list(windows(desk, granularity="hour", month="2026-11"))

    assert len(first["data"]) == 2
    assert len(whole) == 5
    assert (first["earliest_window_start"], first["latest_window_end"]) == (
        whole[0]["start_time"],
        whole[-1]["end_time"],
    )
    wrong = {"granularity": "day", "after": first["next_cursor"]}
    assert desk.ask("GET", "/v1/billing/usage", params=wrong).status_code == 400
    assert desk.ask("GET", "/v1/billing/usage", params={"after": "nonsense"}).status_code == 400


def test_a_month_is_asked_for_by_its_name(desk: Desk) -> None:
    desk.finish(desk.create())
    desk.clock.advance(40 * 86400)

    assert len(list(windows(desk, month="2026-11"))) == 1
    assert list(windows(desk)) == []
    assert desk.get("/v1/billing/usage")["billing_period"] == "2026-12"


def test_the_bill_is_for_organisations_that_it_is_enabled_for(desk: Desk) -> None:
    assert desk.as_(COLLEAGUE_KEY).get("/v1/billing/usage")["organization_id"] == ORGANISATION
    assert desk.as_(OTHER_KEY).ask("GET", "/v1/billing/usage").status_code == 404
    assert desk.ask("GET", "/v1/billing/usage", params={"organization_id": "org-strangers"}).status_code == 403

    desk.emulator.service.billing_enabled.clear()

    assert desk.ask("GET", "/v1/billing/usage").status_code == 404


def test_strangers_are_on_the_bill_too(desk: Desk) -> None:
    jobs = add_strangers(desk.emulator.service)
    desk.clock.advance(2 * 3600)

    items = [item for window in windows(desk, granularity="hour") for item in window["line_items"]]

    assert {job.suffix for job in jobs} == {"nightly-7b", "", "ft-zzzzzz-01m853egkdvypddzfanrkc5c05"}
    named = {item["attributes"].get(JOB_ATTRIBUTE) for item in items}
    assert named == {None, *(job.id for job in jobs)}
    assert [item["applied_credit"]["type"] for item in items if "applied_credit" in item] == ["CREDIT"]
    inference = [item for item in items if item["product_name"].startswith("Token Based Inference")]
    assert [item["cost"] for item in inference] == ["0.0042175", "0.0042175"]


def test_a_refund_is_a_negative_line_of_its_own_hour(desk: Desk) -> None:
    job = desk.create()
    desk.finish(job)
    desk.clock.advance(5 * 3600)
    desk.emulator.service.refund(job, Decimal("1.25"))
    desk.clock.advance(2 * 3600)

    found = list(windows(desk, granularity="hour"))

    assert found[-1]["line_items"][0]["cost"] == "-1.250000000"
    assert cost_of(job, found) == desk.emulator.service.truth(job) == Decimal("2.75")


def test_a_forgotten_job_stays_on_the_bill(desk: Desk) -> None:
    job = desk.create()
    desk.finish(job)
    desk.emulator.service.forget(job)
    desk.clock.advance(2 * 3600)

    assert cost_of(job, windows(desk, granularity="hour")) == Decimal(4)


def test_a_line_can_be_corrected_afterwards(desk: Desk) -> None:
    job = desk.create()
    desk.finish(job)
    desk.clock.advance(2 * 3600)
    line = desk.emulator.service.bill(ORGANISATION, *_EVER)[0]

    desk.emulator.service.correct(line, Decimal("1.234567"))

    (corrected,) = [one for one in desk.emulator.service.bill(ORGANISATION, *_EVER) if one.key == line.key]
    assert corrected == replace(line, cost=Decimal("1.234567"))
    desk.clock.advance(86400)
    assert cost_of(job, windows(desk)) == cost_of(job, windows(desk, granularity="hour"))


def test_a_bill_by_another_tariff_differs_from_the_record(desk: Desk) -> None:
    job = a_long_job(desk)
    desk.emulator.service.billing_tariff = TARIFF.changed(Decimal("1.01"))
    desk.clock.advance(2 * 3600)

    billed = cost_of(job, windows(desk, granularity="hour"))

    assert billed == desk.emulator.service.truth(job) * Decimal("1.01")


def order(service: Service, *, epochs: int, rows: int, packing: bool) -> Job:
    body = CreateFineTune(
        training_file=service.files.keep(ORGANISATION, jsonl(chats(rows))).id,
        model=MODEL,
        n_epochs=epochs,
        packing=packing,
        training_type=Lora(lora_r=8, lora_alpha=16),
    )
    return service.create(ACCOUNTS[KEY], body)


_ACTS = st.sampled_from(["wait", "cancel", "error", "user_error", "refund", "limit"])


@settings(max_examples=60)
@given(
    start_s=st.integers(3480, 3600).map(lambda second: second + 11 * 3600),
    epochs=st.integers(1, 20),
    rows=st.integers(1, 40),
    packing=st.booleans(),
    factor=st.decimals("0.5", "2", places=4),
    acts=st.lists(st.tuples(st.floats(0, 100), _ACTS), max_size=6),
)
def test_the_bill_adds_up_to_the_truth_whatever_happens(
    start_s: int, epochs: int, rows: int, packing: bool, factor: Decimal, acts: list[tuple[float, str]]
) -> None:
    clock = ManualClock()
    service = Service(clock, Instant())
    service.tariff = TARIFF.changed(factor)
    clock.advance(start_s)
    job = order(service, epochs=epochs, rows=rows, packing=packing)

    for seconds, act in acts:
        clock.advance(seconds)
        _do(service, job, act)
    clock.advance(2 * 86400)

    hours = [line.cost for line in service.hours(ORGANISATION)]
    days = [line.cost for line in service.days(ORGANISATION)]
    record = Decimal(job.price(clock.now()) or 0).scaleb(-9)
    assert sum(hours, Decimal(0)) == sum(days, Decimal(0)) == service.truth(job) == record


def _do(service: Service, job: Job, act: str) -> None:
    match act:
        case "cancel" if not job.is_over(service.clock.now()):
            service.cancel(job)
        case "error" | "user_error" as status:
            service.end(job, status, "it broke")
        case "refund" if job.is_over(service.clock.now()):
            service.refund(job, service.truth(job) / 2)
        case "limit":
            service.limit_billing(job)
        case _:
            pass


@settings(max_examples=30)
@given(looks=st.lists(st.integers(1, 4000), min_size=1, max_size=20))
def test_a_line_that_was_seen_never_changes(looks: list[int]) -> None:
    clock = ManualClock()
    service = Service(clock, Instant())
    clock.advance(59 * 60 + 30)
    order(service, epochs=20, rows=40, packing=False)
    seen: dict[str, Decimal] = {}

    for seconds in looks:
        clock.advance(seconds)
        now = {line.key: line.cost for line in service.hours(ORGANISATION)}
        assert now.items() >= seen.items()
        seen = now
