"""One plan against every provider, and the rules that pick from the same offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.errors import ManifestError, UsageError
from ftorch.core.money import Money
from ftorch.costs.book.listed import price_book
from ftorch.costs.book.memory import Fit
from ftorch.jobs.compare import NOT_HERE, Comparison, Offer, Sources, compare
from ftorch.jobs.pick import pick
from ftorch.jobs.prices import refresh
from ftorch.manifest.credentials import environment
from ftorch.manifest.plan import Plan
from ftorch.manifest.prices import OwnPrice
from ftorch.manifest.schema import Dpo, Resources
from unit.jobs.market import READ, Machines, Tokens, open_market
from unit.plans import facts, plan

TODAY = date(2026, 11, 27)
EIGHT_B = 8_200_000_000


@pytest.fixture(autouse=True)
def market(monkeypatch: pytest.MonkeyPatch) -> None:
    open_market(monkeypatch, tokens=Tokens, machines=Machines)
    monkeypatch.setattr("ftorch.providers.registry.missing_packages", lambda _entry: ())


def job(**changes: object) -> Plan:
    tokens = facts(train_tokens=3_000_000, train_rows=10_000, longest_row_tokens=512)
    return plan(**{"parameters": EIGHT_B, "dataset": tokens, **changes})


def sources(tmp_path: Path, own: Mapping[str, Mapping[str, OwnPrice]] | None = None, **changes: object) -> Sources:
    book = price_book(own or {}, tmp_path / "prices.json")
    made = Sources(book=book, credentials=environment({}, tmp_path), tx=None, today=TODAY)
    return replace(made, **changes)  # type: ignore[arg-type]  # the test names fields of Sources


def offer(found: Comparison, name: str) -> Offer:
    return next(one for one in found.offers if one.provider == name)


def test_every_provider_is_there_and_those_that_can_run_it_come_first(tmp_path: Path) -> None:
    found = compare(job(), sources(tmp_path))

    names = [one.provider for one in found.offers]
    assert {"local", "tokens", "machines", "modal", "lambda", "anyscale", "together", "ray", "ssh"} == set(names)
    assert names[0] == "tokens"
    assert [one.can_run for one in found.offers] == sorted((one.can_run for one in found.offers), reverse=True)


def test_tokens_are_priced_from_the_list_without_credentials(tmp_path: Path) -> None:
    tokens = offer(compare(job(), sources(tmp_path)), "tokens")

    assert tokens.amount == Money.parse("4.32 USD")  # 9 million trained tokens
    assert tokens.amount_low is not None
    assert tokens.amount_high is not None
    assert tokens.amount_low < tokens.amount < tokens.amount_high
    assert (tokens.seconds, tokens.price_date) == (None, READ)
    assert tokens.lost == ["batch_size counts packed rows"]


def test_the_users_price_of_tokens_counts(tmp_path: Path) -> None:
    own = OwnPrice(price=Money(Decimal(1)), unit="million_tokens", minimum=Money(Decimal(0)), source="deal", date=READ)

    tokens = offer(compare(job(own_prices={"tokens": {"builtin:tiny": own}}), sources(tmp_path)), "tokens")

    assert tokens.amount == Money.parse("9.00 USD")
    assert "ftorch.toml: deal" in tokens.price


def test_the_users_price_of_a_machine_is_no_price_of_tokens(tmp_path: Path) -> None:
    own = OwnPrice(price=Money(Decimal(1)), unit="hour", source="deal", date=READ)

    tokens = offer(compare(job(own_prices={"tokens": {"builtin:tiny": own}}), sources(tmp_path)), "tokens")

    assert tokens.amount == Money.parse("4.32 USD")


def test_what_a_provider_cannot_do_is_its_own_sentence(tmp_path: Path) -> None:
    found = compare(job(method=Dpo(type="dpo", learning_rate=1e-5)), sources(tmp_path))

    assert offer(found, "tokens").refused == ["tokens trains no DPO"]
    assert not offer(found, "tokens").can_run


def nebula() -> Mapping[str, Mapping[str, OwnPrice]]:
    """A provider that the user has prices of, and ftorch nothing else."""
    own = {name: OwnPrice(price=Money(Decimal(4)), unit="hour", source="deal", date=READ) for name in ("H100", "H200")}
    return {"nebula": own}


def test_a_provider_of_the_price_book_alone_says_so_and_is_priced_all_the_same(tmp_path: Path) -> None:
    listed = offer(compare(job(), sources(tmp_path, nebula())), "nebula")

    assert listed.refused == [NOT_HERE]
    assert listed.state == "not in this version"
    assert listed.amount is not None
    assert listed.other_placements == 1


def test_a_provider_that_misses_an_option_says_so_and_is_priced_all_the_same(tmp_path: Path) -> None:
    listed = offer(compare(job(), sources(tmp_path)), "anyscale")

    assert [words for words in listed.refused if "provider.anyscale.output_uri is missing" in words]
    assert listed.amount is not None
    assert listed.other_placements >= 3


def test_a_provider_that_ships_a_list_is_priced_by_the_book_with_its_date(tmp_path: Path) -> None:
    modal = offer(compare(job(), sources(tmp_path)), "modal")

    assert modal.refused == []
    assert modal.amount is not None
    assert modal.price_date == date(2026, 9, 18)
    assert "modal itself" not in modal.price


def test_the_users_price_of_a_listed_machine_counts(tmp_path: Path) -> None:
    cheap = OwnPrice(price=Money(Decimal("0.10")), unit="hour", source="deal", date=READ)

    modal = offer(compare(job(), sources(tmp_path, {"modal": {"B200": cheap}})), "modal")

    assert modal.placement == "B200"
    assert "ftorch.toml: deal" in modal.price


def test_a_list_that_refuses_the_plan_says_why_and_stops_nobody_else(tmp_path: Path) -> None:
    found = compare(job(resources=Resources(gpu=("Z9",))), sources(tmp_path))

    assert any("modal has no GPU 'Z9'" in words for words in offer(found, "modal").refused)
    assert {"modal", "tokens", "lambda", "local"} <= {one.provider for one in found.offers}


def test_the_cheapest_machine_that_holds_it_is_shown(tmp_path: Path) -> None:
    found = compare(job(), sources(tmp_path))

    for name in ("modal", "lambda"):
        chosen = offer(found, name)
        assert chosen.memory_fit in (Fit.FITS, Fit.TIGHT)
        assert chosen.gpu not in ("T4", "V100")


def test_a_machine_that_is_too_small_is_not_shown_however_cheap(tmp_path: Path) -> None:
    cheap = OwnPrice(price=Money(Decimal("0.0001")), unit="hour", source="a gift", date=READ)

    found = compare(job(), sources(tmp_path, {"modal": {"T4": cheap}}))

    assert offer(found, "modal").gpu != "T4"


def test_a_machine_with_capacity_comes_before_a_cheaper_one_without(tmp_path: Path) -> None:
    book = price_book({})
    gone = [replace(one, has_capacity=one.name != "L40S") for one in book.of("modal")]

    found = compare(job(), sources(tmp_path, book=replace(book, machines=tuple(gone))))

    assert offer(found, "modal").gpu != "L40S"
    assert offer(found, "modal").capacity == "yes"


def test_a_model_that_no_gpu_holds_is_refused_with_figures(tmp_path: Path) -> None:
    huge = offer(compare(job(parameters=400_000_000_000), sources(tmp_path)), "lambda")

    assert huge.memory_fit is Fit.TOO_LARGE
    assert any("GB of memory" in words for words in huge.refused)


def test_only_the_gpus_that_the_manifest_accepts_count(tmp_path: Path) -> None:
    asked = offer(compare(job(resources=Resources(gpu=("H100",))), sources(tmp_path)), "modal")
    none = offer(compare(job(resources=Resources(gpu=("Z9",))), sources(tmp_path)), "modal")

    assert asked.gpu == "H100"
    assert none.placement is None
    assert "no machine there has 1 x Z9" in none.refused


def test_workers_take_a_machine_with_as_many_gpus(tmp_path: Path) -> None:
    asked = offer(compare(job(resources=Resources(gpu=("H100",), workers=3)), sources(tmp_path)), "lambda")

    assert asked.gpus == 4


def test_old_prices_are_marked(tmp_path: Path) -> None:
    found = compare(job(), sources(tmp_path))

    assert offer(found, "anyscale").is_stale
    assert "STALE" in offer(found, "anyscale").price
    assert not offer(found, "modal").is_stale


def test_a_provider_without_a_list_is_asked_only_live(tmp_path: Path) -> None:
    quiet = offer(compare(job(), sources(tmp_path)), "machines")
    live = offer(compare(job(), sources(tmp_path, is_live=True)), "machines")

    assert (quiet.amount, quiet.placement) == (None, None)
    assert (live.placement, live.gpu) == ("one-h100", "H100")
    assert live.price == "3.00 USD per hour (machines itself, 2026-11-27)"
    assert live.amount is not None


def test_a_provider_that_does_not_answer_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machines, "is_down", True)

    machines = offer(compare(job(), sources(tmp_path, is_live=True)), "machines")

    assert machines.refused == ["could not be asked: connection refused"]


def test_a_catalogue_that_was_asked_prices_offline_from_then_on(tmp_path: Path) -> None:
    told = refresh(tmp_path / "prices.json", {}, ["machines", "tokens"])

    machines = offer(compare(job(), sources(tmp_path)), "machines")
    assert told == {"machines": "1 prices", "tokens": "has no catalogue"}
    assert (machines.capacity, machines.price_date) == ("no", READ)
    assert machines.amount is not None


def test_a_catalogue_of_nobody_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nobody"):
        refresh(tmp_path / "prices.json", {}, ["nobody"])


def test_the_options_of_another_provider_are_lost(tmp_path: Path) -> None:
    tokens = offer(compare(job(options={"modal": {"x": 1}}), sources(tmp_path)), "tokens")

    assert "the options of provider.modal do not count there" in tokens.lost


def priced(tmp_path: Path) -> Comparison:
    rates = {"local": Money.parse("0.01 USD")}
    return compare(job(parameters=100_000, declared_rates=rates), sources(tmp_path, nebula(), is_live=True))


def test_cheapest_orders_those_that_can_run_it_by_their_estimate(tmp_path: Path) -> None:
    found = priced(tmp_path)

    chosen = pick(found, "cheapest", "job.yaml")

    amounts = [offer(found, name).amount for name in chosen.providers]
    assert chosen.providers[0] == found.cheapest
    assert amounts == sorted(amounts, key=lambda amount: amount.amount if amount else Decimal(0))
    assert set(chosen.providers) == {"local", "tokens", "machines"}
    assert chosen.reason.startswith(f"cheapest: {chosen.providers[0]} at ")
    assert f"nebula: {NOT_HERE}" in chosen.reason


def test_fastest_leaves_out_who_does_not_say_how_long(tmp_path: Path) -> None:
    found = priced(tmp_path)

    chosen = pick(found, "fastest", "job.yaml")

    assert chosen.providers[0] == found.fastest
    assert "tokens" not in chosen.providers
    assert "tokens: does not say how long it takes" in chosen.reason


def test_fastest_orders_by_time_and_not_by_money(tmp_path: Path) -> None:
    found = priced(tmp_path)
    slow_first = [
        replace(one, seconds=900 - 100 * place) if one.seconds else one for place, one in enumerate(found.offers)
    ]

    chosen = pick(replace(found, offers=slow_first), "fastest", "job.yaml")

    times = [one.seconds for name in chosen.providers for one in slow_first if one.provider == name]
    assert times == sorted(times, key=lambda seconds: seconds or 0)


def test_a_rule_without_anybody_says_why_of_each(tmp_path: Path) -> None:
    found = compare(job(method=Dpo(type="dpo", learning_rate=1e-5)), sources(tmp_path))

    with pytest.raises(ManifestError) as refused:
        pick(found, "cheapest", "job.yaml")

    assert "tokens: tokens trains no DPO" in str(refused.value)
    assert "machines: names no price" in str(refused.value)
