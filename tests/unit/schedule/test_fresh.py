"""Has the adapter in service decayed? Asked on rows that came after its training, with answers that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ftorch.core.errors import BudgetError
from ftorch.core.money import Money
from ftorch.costs.budget import Limit
from ftorch.jobs.frozen import rows_beside
from ftorch.jobs.planner import Planner
from ftorch.jobs.versions import promote
from ftorch.manifest.schedule import EvaluationBelow
from ftorch.schedule.fresh import Fall, fall_below
from ftorch.store import JobRow
from unit.schedule.bench import Bench, line

OLD, FRESH = range(1000, 1060), range(1060, 1120)


def rows_of(bench: Bench, numbers: Sequence[int]) -> None:
    """The dataset as it is now."""
    rows = [{"prompt": f"Is thing {n} fine?", "completion": f"yes {n}"} for n in numbers]
    (bench.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def asked(bench: Bench, floor: float = 0.8, limits: Sequence[Limit] = ()) -> Fall:
    planner = Planner({}, bench.folder, bench.context.home, bench.context.store, bench.clock)
    resolved = planner.resolve(bench.manifest)
    return fall_below(bench.context, resolved, EvaluationBelow(evaluation_below=floor), lambda: limits)


def fresh_order(bench: Bench, job: JobRow) -> list[int]:
    """The fresh rows in the order in which they are asked: split by split."""
    planner = Planner({}, bench.folder, bench.context.home, bench.context.store, bench.clock)
    resolved = planner.resolve(bench.manifest)
    now = bench.context.home.datasets / resolved.plan.dataset.content_hash
    resolved.prepared.write(now)
    found = [json.loads(row)["completion"][0]["content"] for row in rows_beside(now, Path(job.dataset))]
    return [int(words.split()[1]) for words in found]


@pytest.fixture
def serving(bench: Bench) -> JobRow:
    job = bench.trained("a", train=OLD, held_out=range(20))
    promote(bench.context, "support/1")
    rows_of(bench, [*OLD, *FRESH])
    return job


@pytest.mark.parametrize(
    ("right", "is_below"),
    [(range(1060, 1090), True), (range(1060, 1107), False), (FRESH, False)],
    ids=["surely below", "perhaps below", "well above"],
)
def test_it_has_decayed_where_the_whole_interval_is_below_the_floor(
    bench: Bench, serving: JobRow, right: Sequence[int], is_below: bool
) -> None:
    bench.answers(serving, fresh_order(bench, serving), right)

    found = asked(bench)

    assert found.is_below is is_below
    assert "support/1 on fresh rows: exact_match at least 0.80" in found.words
    assert "60 rows" in found.words


def test_few_fresh_rows_say_nothing(bench: Bench, serving: JobRow) -> None:
    rows_of(bench, [*OLD, *range(1060, 1075)])

    assert asked(bench) == Fall(is_below=False, words="15 rows are fresh to support/1, 30 are asked for")


def test_a_limit_of_which_nothing_is_left_asks_nobody(bench: Bench, serving: JobRow) -> None:
    spent = Limit("monthly budget", Money.parse("1.00 USD"), Money.parse("0.90 USD"), Money.parse("0.10 USD"))

    with pytest.raises(BudgetError, match=r"monthly budget, 1\.00 USD: 0\.90 USD is spent and 0.10 USD is held"):
        asked(bench, limits=[spent])


def test_to_look_for_new_rows_leaves_nothing_behind(bench: Bench, serving: JobRow) -> None:
    rows_of(bench, [*OLD, *range(1060, 1075)])
    kept = set(bench.context.home.root.rglob("*"))

    asked(bench)

    assert set(bench.context.home.root.rglob("*")) == kept


def test_without_an_adapter_in_service_nothing_has_decayed(bench: Bench) -> None:
    assert "no adapter is in service" in asked(bench).words


def test_a_decayed_adapter_is_retrained_and_a_good_one_is_not(bench: Bench, serving: JobRow) -> None:
    bench.add(when=[{"evaluation_below": 0.8}])
    bench.answers(serving, fresh_order(bench, serving), FRESH)
    good = bench.pass_hour()

    rows_of(bench, [*OLD, *FRESH, *range(1120, 1160)])
    bench.answers(serving, fresh_order(bench, serving), range(1060, 1080))
    bad = bench.pass_hour()

    assert (good.reason, bad.state) == ("unchanged", "started")
    assert bad.detail.startswith("support/1 on fresh rows")


def test_a_frozen_row_is_the_one_that_the_data_layer_writes(bench: Bench, serving: JobRow) -> None:
    """The answers that these tests know are of the very rows that are asked."""
    order = fresh_order(bench, serving)
    found = bench.context.home.datasets
    written = {row for path in found.glob("*/*.jsonl") for row in path.read_bytes().splitlines(keepends=True)}

    assert {line(n) for n in order} <= written
