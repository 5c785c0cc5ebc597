"""A whole quarter: five thousand jobs, their bills pulled as they come, against the hidden truth of every run."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from ftorch.costs.report import Scope, spend_report
from ftorch.jobs.billing.pull import pull
from ftorch.jobs.billing.status import bill_status
from unit.jobs.billing.quarter import SETTLED, START, draw, office, plant_unknown_run, spent_by_run
from unit.jobs.billing.test_quarter import NAMES, check_bills, live_through

SEED = int(os.environ.get("FTORCH_QUARTER_SEED", "20261127"))


@pytest.mark.timeout(900)
def test_five_thousand_jobs_cost_what_they_truly_cost(tmp_path: Path) -> None:
    quarter = draw(SEED, jobs=5000)

    with office(tmp_path, quarter) as context:
        live_through(context, quarter, every=timedelta(days=23))

        spent = spent_by_run(context.store)
        assert len(spent) > 5000
        assert spent == dict(quarter.truth)
        check_bills(context, quarter)
        report = spend_report(context.store.read(), Scope(as_of=SETTLED), by="provider")
        assert report.in_all.amount * 1_000_000 == sum(quarter.truth.values())

        before = len(context.store.ledger())
        again = pull(context, NAMES, is_asked=True, since=START)
        assert [one.appended for one in again] == [0, 0, 0]
        assert len(context.store.ledger()) == before

        plant_unknown_run(quarter)
        pull(context, NAMES, is_asked=True, since=START)
        assert sum(bill.unexplained.micro for bill in bill_status(context.store).bills) == 7_770_000
        assert spent_by_run(context.store) == spent
