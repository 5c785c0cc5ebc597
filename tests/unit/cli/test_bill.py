"""`ftorch bill` and `ftorch spend`, run in this process against acme's emulator."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ftorch.cli.app import run as run_command
from ftorch.cli.main import _COMMANDS
from ftorch.cli.shapes import output_schema
from ftorch.core.clock import ManualClock
from ftorch.core.errors import BillNotEnabledError
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.emulators.server import Fault
from ftorch.providers import registry
from ftorch.providers.registry import Entry
from ftorch.store import SqliteStore
from sample.emulator import KEY, AcmeEmulator
from sample.settings import KEY_VARIABLE, URL_VARIABLE
from unit.jobs.rows import job, run

ACCOUNT = "org-tiny"
MARK = "abc123"
_ORDER = {
    "machine": "acme-a100",
    "uploads": {},
    "spec": {"base_model": "b", "method": {"epochs": 1, "lora": {"rank": 4, "alpha": 8}}},
}


@dataclass
class Office:
    """An installation whose runs at acme ended two days ago, and a person who types."""

    emulator: AcmeEmulator
    home: Home
    key: str
    stray: str
    capsys: pytest.CaptureFixture[str]

    def type(self, *words: str) -> tuple[int, str, str]:
        code = run_command(_COMMANDS, words)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def json(self, shape: str, *words: str) -> Any:
        """What a command answers to a program; it must be of its shape."""
        _, out, _ = self.type(*words, "--json")
        answer = json.loads(out)
        jsonschema.validate(answer, output_schema(shape))
        return answer


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Office]:
    clock = ManualClock(datetime.now(UTC) - timedelta(days=2))
    at, ids = clock.now(), Ids()
    key, stray = (f"ft-{MARK}-{ids.ulid(at)}" for _ in range(2))
    with AcmeEmulator(clock) as emulator:
        monkeypatch.setattr(registry, "OURS", {"acme": Entry("sample.provider:AcmeProvider"), **registry.OURS})
        for name, value in ((KEY_VARIABLE, KEY), (URL_VARIABLE, emulator.url), ("FTORCH_HOME", str(tmp_path / "home"))):
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        made = Office(emulator, Home(tmp_path / "home").ensure(), key, stray, capsys)
        emulator.service.create(ACCOUNT, {**_ORDER, "tag": key})
        emulator.service.add_strangers()
        clock.advance(2 * 86_400)
        _furnish(made, at)
        yield made


def _furnish(office: Office, at: datetime) -> None:
    """One job with a run that ended after a minute of work, to be found on acme's bill."""
    store = SqliteStore.open(office.home.database)
    ended = at + timedelta(seconds=67)
    row = run(
        key=office.key,
        job_id="job-1",
        provider="acme",
        account=ACCOUNT,
        remote_id="run-00000001",
        state="succeeded",
        created_at=at,
        sent_at=at,
        billable_from=at + timedelta(seconds=5),
        billable_to=ended,
        ended_at=ended,
        released_at=ended,
        charged_at=ended,
        settled_at=ended,
    )

    def change(tx: Any) -> None:
        tx.put_meta("installation", MARK)
        tx.insert_job(job(provider="acme", state="succeeded", labels='{"team": "red"}', estimate_micro=40_000), "{}")
        tx.insert_run(row)

    store.write(change)
    store.close()


def test_before_the_first_pull_the_next_step_is_said(office: Office) -> None:
    code, _, err = office.type("bill")

    assert code == 0
    assert "no bill was read yet\nhint: run `ftorch bill pull`" in err


def test_a_pull_says_where_the_lines_went(office: Office) -> None:
    code, out, err = office.type("bill", "pull")

    assert code == 0, err
    assert re.search(r"acme \(org-tiny\): (\d+) lines since \d{4}-\d\d-01 \(1 run, \d+ outside\), settled until", out)
    assert office.type("bill")[1].splitlines()[1].startswith("acme      org-tiny  ")


def test_the_answers_are_of_their_shapes(office: Office) -> None:
    [pulled] = [one for one in office.json("bill-pull", "bill", "pull") if one["provider"] == "acme"]
    status = office.json("bill", "bill")
    [entry] = [one for one in office.json("ledger", "ledger") if one["run"] == office.key]
    view = office.json("bill-explain", "bill", "explain", str(entry["id"]))

    assert (pulled["outcome"], pulled["unexplained"]) == ("pulled", 0)
    assert status["bills"][0]["lines_run"] == pulled["run"] == 1
    assert (view["place"], view["run"]["job"]) == ("run", "job-1")
    for by in ("name", "month", "team"):
        answer = office.json("spend", "spend", "--by", by)
        assert Decimal(answer["total"]["amount"]) == Decimal(view["amount"]["amount"])
        assert (answer["total"]["source"], answer["total"]["status"]) == ("billing_api", "billed")


def test_a_provider_without_a_bill_is_said_and_is_no_failure(office: Office) -> None:
    code, _, err = office.type("bill", "pull", "local")

    assert code == 0
    assert "local: local has no bill that can be read; its spend is measured time at the rate that you declare" in err


def test_a_bill_that_may_not_be_read_is_said_and_is_no_failure(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise BillNotEnabledError("acme does not let org-tiny read its bill", provider="acme", operation="line_items")

    monkeypatch.setattr("sample.provider.AcmeProvider.line_items", refused)

    code, _, err = office.type("bill", "pull", "acme")

    assert (code, err) == (0, "acme: acme does not let org-tiny read its bill\n")


def test_a_bill_that_cannot_be_read_fails_and_names_why(office: Office) -> None:
    office.emulator.script("GET /bill", Fault.GARBAGE, times=None)

    code, _, err = office.type("bill", "pull")

    assert code == 6
    assert "acme:" in err


def test_a_line_of_a_run_that_nobody_knows_is_exit_code_11_until_it_is_assigned(office: Office) -> None:
    service, clock = office.emulator.service, office.emulator.service.clock
    assert isinstance(clock, ManualClock)
    clock.advance(-7200)
    service.create(ACCOUNT, {**_ORDER, "tag": office.stray})
    clock.advance(7200)
    code, _, err = office.type("bill", "pull")
    [line] = office.json("bill", "bill")["unexplained"]
    refused, _, why = office.type("bill", "close", f"{datetime.now(UTC) - timedelta(days=40):%Y-%m}")

    assert code == 11
    assert f"unexplained: line {line['id']} of acme" in err
    assert refused in (0, 11), why
    assert office.type("bill", "assign", str(line["id"]), "--note", "x")[0] == 2
    assert office.type("bill", "assign", str(line["id"]), "--label", "team", "--note", "x")[0] == 2
    assert office.type("bill", "assign", str(line["id"]), "--label", "team=blue", "--note", "asked them")[0] == 0
    assert office.type("bill")[0] == 0
    assert {row["key"] for row in office.json("spend", "spend", "--by", "team")["rows"]} >= {"red", "blue"}


def test_an_invoice_is_imported_once(office: Office, tmp_path: Path) -> None:
    (tmp_path / "invoice.csv").write_text("amount,start,description\n1.25,2026-10-01,storage\n")
    words = ("bill", "import", "invoice.csv", "--provider", "lambda", "--account", "us")

    first, again = office.json("bill-import", *words), office.type(*words)

    assert (first["is_new"], first["outside"], first["amount"]["amount"]) == (True, 1, "1.25")
    assert again[0] == 0
    assert "was imported before" in again[2]


def test_a_month_is_closed_and_a_later_correction_names_it(office: Office) -> None:
    month = f"{datetime.now(UTC) - timedelta(days=70):%Y-%m}"
    office.type("bill", "pull")

    closed = office.json("bill-close", "bill", "close", month)
    code, _, err = office.type("bill", "close", month)
    early, _, why = office.type("bill", "close", f"{datetime.now(UTC):%Y-%m}", "--force", "--note", "now")

    assert (closed["is_new"], closed["month"]) == (True, month)
    assert code == 0
    assert "was closed" in err
    assert early == 9
    assert "has not ended" in why


def test_a_report_as_of_its_own_moment_is_the_same_to_the_byte(office: Office) -> None:
    office.type("bill", "pull")
    _, first, _ = office.type("spend", "--json")
    as_of = json.loads(first)["as_of"]
    service = office.emulator.service
    [row] = [
        row
        for row in service.bill(ACCOUNT, datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC))
        if row.tag == office.key
    ]
    service.correct(row.id, Decimal("9.99"))
    office.type("bill", "pull")

    assert office.type("spend", "--json", "--as-of", as_of)[1] == first
    assert json.loads(office.type("spend", "--json")[1])["total"]["amount"] == "9.99"


@pytest.mark.parametrize("form", ["table", "csv", "html", "focus"])
def test_every_format_tells_the_same_amount(office: Office, form: str) -> None:
    office.type("bill", "pull")
    total = Decimal(office.json("spend", "spend")["total"]["amount"])

    code, out, err = office.type("spend", "--by", "team", "--format", form)

    assert code == 0, err
    assert _READ[form](out) == total


def _of_csv(column: str) -> Callable[[str], Decimal]:
    def read(text: str) -> Decimal:
        rows = list(csv.DictReader(io.StringIO(text)))
        kept = [row for row in rows if row.get("ChargeCategory", "Usage") == "Usage"]
        return sum((Decimal(row[column]) for row in kept), Decimal(0))

    return read


def _of_page(text: str) -> Decimal:
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    return Decimal(text.rpartition("<tfoot>")[2].partition('title="')[2].partition('"')[0])


_READ: dict[str, Callable[[str], Decimal]] = {
    "table": lambda text: Decimal(text.partition("total spend: ")[2].partition(" USD")[0]),
    "csv": _of_csv("amount"),
    "html": _of_page,
    "focus": _of_csv("BilledCost"),
}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--month", "october"), "'october' is not a month"),
        (("--timezone", "Mars"), "no time zone is called 'Mars'"),
        (("--as-of", "yesterday"), "'yesterday' is not a date"),
        (("--compare", "2026-10"), "--compare needs the month"),
        (("--compare", "2026-10", "--month", "2026-11", "--format", "html"), "--compare has no html"),
        (("--by", ""), "--by needs a word"),
    ],
)
def test_what_cannot_be_asked_is_said(office: Office, words: tuple[str, ...], message: str) -> None:
    code, _, err = office.type("spend", *words)

    assert code == 2
    assert message in err


def test_two_months_are_compared(office: Office) -> None:
    office.type("bill", "pull")
    this, last = f"{datetime.now(UTC) - timedelta(days=2):%Y-%m}", "2026-01"

    found = office.json("spend-compare", "spend", "--month", this, "--compare", last)
    _, out, _ = office.type("spend", "--month", this, "--compare", last)

    assert found["difference"] == found["new_jobs"]
    assert f"of which volume 0.00 USD, price 0.00 USD, waste 0.00 USD, new jobs {found['new_jobs']['amount']}" in out
