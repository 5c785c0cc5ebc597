from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.errors import InputError, SettingsError, UsageError
from ftorch.core.money import Money
from ftorch.jobs.billing.invoice import Imported, import_invoice
from ftorch.jobs.billing.pull import pull
from ftorch.jobs.billing.status import bill_status
from ftorch.jobs.context import Context
from ftorch.manifest.invoice import load_mapping
from unit.jobs.billing.quarter import SETTLED, START, Quarter, charge_ended, move_to, spent_by_run

Bring = Callable[..., Imported]

_THEIRS = """\
delimiter = ";"
date = "%d.%m.%Y"
timezone = "Europe/Berlin"
end_included = true

[columns]
amount = "Betrag"
start = "von"
end = "bis"
description = "Position"
kind = "Art"
run = "Referenz"

[kinds]
Nutzung = "billed"
Steuer = "tax"
Gutschrift = "credit"
"""


@pytest.fixture
def bring(context: Context, tmp_path: Path) -> Bring:
    """Write a file and import it as gamma's invoice."""
    move_to(context, SETTLED)

    def import_text(text: str, name: str = "invoice.csv", mapping: str | None = None) -> Imported:
        (tmp_path / name).write_text(text, encoding="utf-8")
        if mapping is not None:
            (tmp_path / "mapping.toml").write_text(mapping, encoding="utf-8")
        mapped = load_mapping(tmp_path / "mapping.toml" if mapping is not None else None)
        return import_invoice(context, tmp_path / name, "gamma", mapped, "acct")

    return import_text


def gamma_run(quarter: Quarter) -> str:
    return next(row.key for row in quarter.runs if row.provider == "gamma")


def test_an_invoice_takes_the_place_of_what_was_measured(context: Context, quarter: Quarter, bring: Bring) -> None:
    charge_ended(context, quarter, START)
    key = gamma_run(quarter)
    [row] = [row for row in quarter.runs if row.key == key]

    done = bring(f"amount,start,end,run\n3.21,2026-07-01,2026-11-01,{key}\n0.50,2026-07-01,2026-11-01,\n")

    assert (done.lines, done.run, done.outside, done.amount) == (2, 1, 1, Money(Decimal("3.71")))
    assert spent_by_run(context.store)[key] == 3_210_000
    assert row.remote_id is not None


def test_a_run_is_found_by_the_id_that_the_provider_gave_it(context: Context, quarter: Quarter, bring: Bring) -> None:
    [row] = [row for row in quarter.runs if row.key == gamma_run(quarter)]

    bring(f"amount,start,remote_id\n3.21,2026-07-01,{row.remote_id}\n")

    assert spent_by_run(context.store) == {row.key: 3_210_000}


def test_the_same_content_again_does_nothing(context: Context, bring: Bring) -> None:
    text = "amount,start\n3.21,2026-07-01\n3.21,2026-07-01\n"
    first = bring(text)
    before = len(context.store.ledger())

    again = bring(text, name="other-name.csv")

    assert (first.is_new, again.is_new, first.lines, again.file) == (True, False, 2, "invoice.csv")
    assert len(context.store.ledger()) == before == 2


def test_a_line_that_is_in_two_files_is_one_line(context: Context, bring: Bring) -> None:
    bring("amount,start\n3.21,2026-07-01\n")
    bring("amount,start\n3.21,2026-07-01\n4.00,2026-07-02\n", name="longer.csv")

    assert [entry.amount_micro for entry in context.store.ledger()] == [3_210_000, 4_000_000]


def test_a_line_with_a_reference_is_corrected_by_a_newer_file(context: Context, bring: Bring) -> None:
    bring("reference,amount,start\nL1,3.00,2026-07-01\n")
    move_to(context, SETTLED.replace(day=20))
    bring("reference,amount,start\nL1,2.50,2026-07-01\n", name="corrected.csv")

    assert [entry.amount_micro for entry in context.store.ledger()] == [3_000_000, -3_000_000, 2_500_000]


def test_a_mapping_says_what_the_columns_are(context: Context, bring: Bring, quarter: Quarter) -> None:
    text = """\
Position;von;bis;Art;Betrag;Referenz
GPU;01.07.2026;31.07.2026;Nutzung;12.50;
MwSt;01.07.2026;31.07.2026;Steuer;2.38;
"""

    bring(text, mapping=_THEIRS)

    [gpu, tax] = context.store.ledger()
    assert (gpu.kind, gpu.amount_micro, gpu.description, tax.kind) == ("billed", 12_500_000, "GPU", "tax")
    assert gpu.period_start == datetime(2026, 6, 30, 22, tzinfo=UTC)
    assert gpu.period_end == datetime(2026, 7, 31, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("'1,50',2026-07-01,USD,", "invoice.csv:3: amount: '1,50' has a comma"),
        ("'1,234.50',2026-07-01,USD,", "invoice.csv:3: amount: '1,234.50' has a comma"),
        ("$1.50,2026-07-01,USD,", "invoice.csv:3: amount: '$1.50' is not a number"),
        ("1e3,2026-07-01,USD,", "invoice.csv:3: amount: '1e3' is not a number"),
        (",2026-07-01,USD,", "invoice.csv:3: amount: '' is not a number"),
        ("1.50,01/07/2026,USD,", "invoice.csv:3: start: '01/07/2026' is not a date such as 2026-10-31"),
        ("1.50,2026-07-01,EUR,", "invoice.csv:3: currency: 'EUR' is not supported"),
        ("1.50,2026-07-01,USD,Nutzung", "invoice.csv:3: kind: 'Nutzung' is not a kind"),
        ("1.50,2026-07-01,USD,provisional", "invoice.csv:3: kind: 'provisional' is not a kind"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_nothing_is_posted(
    context: Context, bring: Bring, line: str, words: str
) -> None:
    quoted = line.replace("'", '"')

    with pytest.raises(InputError) as refused:
        bring(f"amount,start,currency,kind\n1.00,2026-07-01,USD,\n{quoted}\n")

    assert str(refused.value).startswith(words)
    assert context.store.ledger() == []
    assert bill_status(context.store).bills == []


def test_every_fault_is_named(bring: Bring) -> None:
    with pytest.raises(InputError) as refused:
        bring("amount,start,end\nx,2026-07-01,\ny,2026-07-01,\n1,2026-07-02,2026-07-01\n")

    assert [(fault.line, fault.key) for fault in refused.value.faults] == [(2, "amount"), (3, "amount"), (4, "end")]


def test_a_file_without_the_columns_says_which_it_has(bring: Bring) -> None:
    with pytest.raises(InputError, match=r"invoice\.csv:1: has no column amount, start; it has Total, Date") as refused:
        bring("Total,Date\n1,2\n")

    assert "--mapping" in (refused.value.hint or "")


def test_a_mapping_with_a_slip_is_refused(bring: Bring) -> None:
    with pytest.raises(SettingsError, match=r"columns\.ammount: not a known key \(did you mean 'amount'\?\)"):
        bring("amount,start\n", mapping='[columns]\nammount = "x"\n')


def test_a_bill_that_is_pulled_is_not_imported_too(context: Context, bring: Bring, tmp_path: Path) -> None:
    pull(context, ("alpha",), is_asked=True)
    (tmp_path / "a.csv").write_text("amount,start\n1.00,2026-07-01\n")

    with pytest.raises(UsageError, match="the bill of alpha is pulled already"):
        import_invoice(context, tmp_path / "a.csv", "alpha", load_mapping(None), "acct")


def test_the_account_is_that_of_our_runs(context: Context, bring: Bring, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("amount,start\n1.00,2026-07-01\n")

    assert import_invoice(context, tmp_path / "a.csv", "gamma", load_mapping(None), None).account == "acct"
    with pytest.raises(UsageError, match="whose invoice is it"):
        import_invoice(context, tmp_path / "a.csv", "lambda", load_mapping(None), None)


def test_a_provider_that_nobody_knows_is_refused(context: Context, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no provider is called 'gama' \(did you mean 'gamma'\?\)"):
        import_invoice(context, tmp_path / "a.csv", "gama", load_mapping(None), None)


def test_a_file_that_is_not_there_is_said(context: Context, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        import_invoice(context, tmp_path / "nothing.csv", "gamma", load_mapping(None), "acct")
