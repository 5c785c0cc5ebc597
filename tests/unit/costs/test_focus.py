"""The FOCUS dataset against a table of the specification's columns, and what a month's rows say."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.errors import UsageError
from ftorch.costs.focus import focus_columns, focus_rows, write_csv
from ftorch.costs.report import Scope, spend_report
from ftorch.store import Store
from unit.costs.test_report import AS_OF, LOST, RED, entry, fill
from unit.jobs.rows import NOW, ended

_TABLE = Path(__file__).with_name("focus_columns.csv")
Row = Mapping[str, str]


def spec(version: str) -> dict[str, Row]:
    """The columns of a version, as the specification has them (FOCUS_Spec, read on 2026-11-27)."""
    rows = list(csv.DictReader(_TABLE.read_text().splitlines()))
    return {row["column"]: row for row in rows if row["since"] <= version}


@pytest.fixture
def billed(books: Store) -> Store:
    """Usage by time and by tokens, a discount, a refund, a credit, tax, a correction, and lines that are not ours."""
    bill = {"source": "billing_api", "kind": "billed", "provider": "cloud"}
    late = {"corrects": "2026-10", "counted_at": NOW}
    fill(
        books,
        entry(
            job_id="a",
            run_key=RED,
            amount_micro=900_000,
            list_micro=1_000_000,
            unit="second",
            quantity=Decimal(1000),
            unit_price=Decimal("0.001"),
            **bill,
        ),
        entry(
            job_id="a",
            run_key=LOST,
            amount_micro=1_200_000,
            list_micro=1_200_000,
            unit="token",
            quantity=Decimal(2_500_000),
            unit_price=Decimal("0.00000048"),
            **bill,
        ),
        entry(job_id="b", amount_micro=60_000, list_micro=60_000, unit="call", unit_price=None),
        entry(job_id="a", run_key=LOST, amount_micro=-400_000, **{**bill, "kind": "adjusted"}),
        entry(job_id="a", run_key=RED, amount_micro=-100_000, **{**bill, "kind": "credit"}),
        entry(amount_micro=210_000, place="outside", job_id=None, **{**bill, "kind": "tax"}),
        entry(job_id="a", run_key=RED, amount_micro=30_000, list_micro=30_000, **bill, **late),
        entry(job_id=None, amount_micro=5_000_000, place="outside", **bill),
        entry(
            job_id=None,
            amount_micro=250_000,
            list_micro=250_000,
            unit_price=None,
            place="assigned",
            labels='{"team": "blue"}',
            **bill,
        ),
        runs=(ended("succeeded", key=RED, job_id="a"), ended("failed", key=LOST, job_id="a", number=2)),
    )
    return books


def rows(store: Store, version: str = "1.2") -> list[Row]:
    return list(focus_rows(store.read(), Scope(as_of=AS_OF), version=version))


@pytest.mark.parametrize(("version", "count"), [("1.0", 43), ("1.2", 57)])
def test_the_columns_are_those_of_the_specification(version: str, count: int) -> None:
    ours = [name for name in focus_columns(version) if not name.startswith("x_")]

    assert ours == sorted(spec(version))
    assert len(ours) == count


def test_a_version_that_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match=r"FOCUS 0\.9 is not supported"):
        focus_columns("0.9")


@pytest.mark.parametrize("version", ["1.0", "1.2"])
def test_every_value_is_of_its_column(billed: Store, version: str) -> None:
    found = rows(billed, version)

    assert len(found) == 8
    for row in found:
        for name, column in spec(version).items():
            check(row[name], name, column)


def check(value: str, name: str, column: Row) -> None:
    if not value:
        assert column["nulls"] == "yes", f"{name} is null"
        return
    if column["allowed"]:
        assert value in column["allowed"].split("|"), f"{name}: {value}"
    match column["type"]:
        case "decimal":
            assert Decimal(value).is_finite(), name
        case "price":
            assert Decimal(value) >= 0, f"{name}: {value}"
        case "datetime":
            assert value.endswith("Z"), f"{name}: {value}"
            assert datetime.fromisoformat(value).utcoffset() == timedelta(0)
        case "currency":
            assert value == "USD"
        case "json":
            assert isinstance(json.loads(value), dict)


def test_the_rules_between_columns_hold(billed: Store) -> None:
    for row in rows(billed):
        is_priced = row["ChargeCategory"] == "Usage" and row["ChargeClass"] != "Correction"
        for name in ("SkuPriceId", "ListUnitPrice", "ContractedUnitPrice", "PricingCategory", "PricingQuantity"):
            assert bool(row[name]) == is_priced or (name == "SkuPriceId" and row["ChargeCategory"] == "Usage"), name
        assert bool(row["ConsumedQuantity"]) == bool(row["ConsumedUnit"]) == is_priced
        assert bool(row["ResourceType"]) == bool(row["ResourceId"])
        assert bool(row["SkuMeter"]) == bool(row["SkuId"])
        if is_priced:
            for cost, price in (("ListCost", "ListUnitPrice"), ("ContractedCost", "ContractedUnitPrice")):
                product = Decimal(row[price]) * Decimal(row["PricingQuantity"])
                assert abs(product - Decimal(row[cost])) < Decimal("0.000001"), cost


def test_tokens_are_consumed_one_by_one_and_priced_by_the_million(billed: Store) -> None:
    [row] = [row for row in rows(billed) if row["ConsumedUnit"] == "Tokens"]

    assert (row["ConsumedQuantity"], row["PricingQuantity"], row["PricingUnit"]) == (
        "2500000.00",
        "2.50",
        "1000000 Tokens",
    )
    assert (row["ListUnitPrice"], row["ListCost"], row["BilledCost"]) == ("0.48", "1.20", "1.20")


def test_a_discount_is_the_distance_from_list_to_billed(billed: Store) -> None:
    [row] = [row for row in rows(billed) if row["PricingUnit"] == "Seconds" and row["ListCost"] == "1.00"]

    assert (row["BilledCost"], row["ContractedUnitPrice"], row["ListUnitPrice"]) == ("0.90", "0.0009", "0.001")


def test_refund_credit_tax_and_correction_are_told_apart(billed: Store) -> None:
    told = {(row["ChargeCategory"], row["ChargeClass"]): row["BilledCost"] for row in rows(billed)}

    assert told["Adjustment", ""] == "-0.40"
    assert told["Credit", ""] == "-0.10"
    assert told["Tax", ""] == "0.21"
    assert told["Usage", "Correction"] == "0.03"


def test_a_correction_is_in_the_period_in_which_it_came_and_names_its_own(billed: Store) -> None:
    [row] = [row for row in rows(billed) if row["ChargeClass"]]

    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert row["x_CorrectsMonth"] == "2026-10"


def test_labels_are_tags_and_the_job_is_named(billed: Store) -> None:
    tags = {row["x_JobId"]: json.loads(row["Tags"]) for row in rows(billed)}

    assert tags["a"]["team"] == "red"
    assert tags[""] in ({"team": "blue"}, {})
    assert {row["ResourceName"] for row in rows(billed) if row["x_JobId"] == "a"} == {"router"}


def test_a_correction_within_an_open_month_leaves_one_row(books: Store) -> None:
    line = {"job_id": "a", "source": "billing_api", "kind": "billed", "source_ref": "one"}
    fill(
        books,
        entry(amount_micro=500_000, **line),
        entry(amount_micro=-500_000, revision=2, **line),
        entry(amount_micro=700_000, revision=3, description="as corrected", **line),
    )

    [row] = rows(books)

    assert (row["BilledCost"], row["ChargeDescription"]) == ("0.70", "as corrected")


def test_what_was_given_back_has_a_quantity_below_nothing_and_a_price(books: Store) -> None:
    fill(books, entry(job_id="a", amount_micro=-300_000, list_micro=-300_000, kind="billed", unit_price=None))

    [row] = rows(books)

    assert (row["PricingQuantity"], row["ListUnitPrice"], row["ListCost"]) == ("-1.00", "0.30", "-0.30")


def test_what_the_bill_has_covered_is_no_row(books: Store) -> None:
    fill(
        books,
        entry(job_id="a", run_key=RED, amount_micro=500_000, source="run_record", source_ref="r/price"),
        entry(job_id="a", run_key=RED, amount_micro=-400_000, source="run_record", source_ref=f"bill/{RED}"),
        entry(job_id="a", run_key=RED, amount_micro=400_000, source="billing_api", kind="billed"),
    )

    assert sorted((row["x_Source"], row["BilledCost"]) for row in rows(books)) == [
        ("billing_api", "0.40"),
        ("run_record", "0.10"),
    ]


def test_the_sum_of_the_rows_is_the_report_of_the_month(billed: Store) -> None:

    report = spend_report(billed.read(), Scope(as_of=AS_OF), by="month").in_all
    sums = {"amount": Decimal(0), "credits": Decimal(0), "tax": Decimal(0)}
    for row in rows(billed):
        name = {"Credit": "credits", "Tax": "tax"}.get(row["ChargeCategory"], "amount")
        sums[name] += Decimal(row["BilledCost"])

    assert sums == {name: getattr(report, name) for name in sums}


def test_the_file_has_a_heading_and_a_line_per_row(billed: Store) -> None:
    stream = io.StringIO()

    write_csv(stream, "1.0", iter(rows(billed, "1.0")))

    read = list(csv.DictReader(stream.getvalue().splitlines()))
    assert read == [dict(row) for row in rows(billed, "1.0")]
