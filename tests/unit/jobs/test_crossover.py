"""The day on which a fine-tune has paid for itself is told once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ftorch.costs.lifetime import LifetimeReport
from ftorch.jobs.crossover import note_crossovers
from ftorch.jobs.pays import lifetime_of
from ftorch.jobs.versions import number, promote
from ftorch.manifest.lifetime import Lifetime
from ftorch.store import Transaction
from unit.jobs import rows
from unit.schedule.bench import Bench, bench_in


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with bench_in(tmp_path) as made:
        yield made


def lifetime() -> Lifetime:
    """It saves 900 USD a month, and training has cost 90."""
    return Lifetime.model_validate(
        {
            "calls_per_period": 200_000,
            "periods": 24,
            "hosted": {"per_call": "0.005 USD", "source": "list"},
            "serving": {"per_call": "0.0005 USD", "source": "quote"},
        }
    )


def test_it_is_told_on_the_day_and_not_before_and_once(bench: Bench) -> None:
    job = bench.trained("a", train=range(10), held_out=range(10, 20), lifetime=lifetime())
    entry = rows.charge(job_id=job.id, amount_micro=90_000_000)
    bench.context.store.write(lambda tx: tx.add_entry(entry))
    promote(bench.context, "support/1")
    begun = bench.clock.now().date()

    told = [note_crossovers(bench.context, begun + timedelta(days=days)) for days in (0, 3, 4, 5)]

    assert told == [[], [], ["support"], ["support"]]
    [notice] = bench.notices()
    body = json.loads(notice.body)
    assert (notice.kind, body["dollars"]["train_cost"]["amount"]) == ("crossover", "90.00")
    assert "support has paid for itself: the lines met on 2026-11-05" in body["title"]


def test_the_prices_beside_the_manifest_count(bench: Bench) -> None:
    for folder, price in ((bench.folder, "9.00"), (bench.context.home.root, "0.01")):
        (folder / "ftorch.toml").write_text(
            f"[prices.hosted.house]\ninput = '0.01 USD'\noutput = '{price} USD'\nsource = 'a'\ndate = 2026-07-01\n"
        )
    hosted = {"model": "house", "input_tokens": 1000, "output_tokens": 400}
    block = Lifetime.model_validate(lifetime().model_dump(mode="json", by_alias=True) | {"hosted": hosted})
    job = bench.trained("a", train=range(10), held_out=range(10, 20), lifetime=block)
    entry = rows.charge(job_id=job.id, amount_micro=90_000_000)
    bench.context.store.write(lambda tx: tx.add_entry(entry))
    promote(bench.context, "support/1")

    assert note_crossovers(bench.context, bench.clock.now().date() + timedelta(days=30)) == ["support"]


def test_without_a_lifetime_or_before_it_serves_there_is_nothing_to_tell(bench: Bench) -> None:
    bench.trained("a", train=range(10), held_out=range(10, 20))
    bench.trained("b", train=range(10), held_out=range(10, 20), lifetime=lifetime())
    promote(bench.context, "support/1")

    assert note_crossovers(bench.context, bench.clock.now().date() + timedelta(days=900)) == []


@pytest.fixture
def beside(bench: Bench) -> Bench:
    """`support` that has paid for itself, and `odd`, which is looked at first and whose plan nobody can read."""
    job = bench.trained("a", train=range(10), held_out=range(10, 20), lifetime=lifetime())
    odd = rows.job(id="odd", name="odd", adapter=job.adapter, manifest_path=job.manifest_path)
    bench.clock.advance(60)

    def change(tx: Transaction) -> None:
        tx.add_entry(rows.charge(job_id=job.id, amount_micro=90_000_000))
        tx.insert_job(odd, '{"version": 99}')
        number(bench.context, tx, odd)

    bench.context.store.write(change)
    for version in ("support/1", "odd/1"):
        promote(bench.context, version)
    return bench


def test_a_plan_of_another_version_keeps_no_other_name_unseen(beside: Bench) -> None:
    assert note_crossovers(beside.context, beside.clock.now().date() + timedelta(days=30)) == ["support"]


def test_a_name_that_breaks_keeps_no_other_name_unseen(beside: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(store: Any, reference: str, *rest: Any, **options: Any) -> LifetimeReport:
        return 1 // 0 if reference == "odd" else lifetime_of(store, reference, *rest, **options)  # type: ignore[return-value]

    monkeypatch.setattr("ftorch.jobs.crossover.lifetime_of", breaks)

    assert note_crossovers(beside.context, beside.clock.now().date() + timedelta(days=30)) == ["support"]
