"""Invoices that a person brings as a file: every line checked before the first one is posted."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path

from ftorch.core.errors import Fault, InputError, UsageError
from ftorch.core.money import USD, Money
from ftorch.core.suggest import did_you_mean
from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window
from ftorch.costs.months import time_zone
from ftorch.jobs.billing.lines import note_through, post_lines, settle_unexplained
from ftorch.jobs.billing.place import Bill
from ftorch.jobs.context import Context
from ftorch.manifest.credentials import PROVIDER_VARIABLES
from ftorch.manifest.invoice import Mapped
from ftorch.providers.registry import entries
from ftorch.store import BillRow, InvoiceRow, bill_sql

_NUMBER = re.compile(r"^-?[0-9]+(\.[0-9]+)?$")
_REQUIRED = ("amount", "start")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    provider: str
    account: str
    file: str
    is_new: bool
    """False: a file with this content was imported before, and nothing was done."""
    lines: int
    run: int = 0
    assigned: int = 0
    outside: int = 0
    unexplained: int = 0
    amount: Money | None = None


def import_invoice(context: Context, file: Path, provider: str, mapped: Mapped, account: str | None) -> Imported:
    """Bring an invoice into the ledger; the same content again does nothing.

    Raises InputError with every line that cannot be read, and posts none then; UsageError where the bill is pulled
    already: its lines would count twice.
    """
    _check_name(context, provider)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    bill = Bill(provider, account or mapped.account or _only_account(context, provider), context.installation)
    sha256 = hashlib.sha256(content).hexdigest()
    reader = context.store.read()
    if known := reader.one(InvoiceRow, bill_sql.INVOICE, sha256=sha256):
        return Imported(known.provider, known.account, known.name, is_new=False, lines=known.lines)
    _check_not_pulled(reader.one(BillRow, bill_sql.BILL, provider=provider, account=bill.account))
    items = _Reader(file.name, mapped, context.clock.now()).items(content)
    tally = post_lines(context, bill, iter(items))
    if items:
        note_through(context, bill, SpendSource.INVOICE, max(item.period.end for item in items))
    row = InvoiceRow(
        sha256=sha256,
        provider=provider,
        account=bill.account,
        name=file.name,
        lines=len(items),
        at=context.clock.now(),
    )
    context.store.write(lambda tx: tx.insert(bill_sql.INSERT_INVOICE, row))
    settle_unexplained(context)
    lines = {place.value: count for place, count in tally.lines.items()}
    amount = Money(sum((item.amount.amount for item in items), Decimal(0)))
    return Imported(provider, bill.account, file.name, is_new=True, lines=len(items), amount=amount, **lines)


def _check_name(context: Context, provider: str) -> None:
    """A slip of the pen would open a book of its own."""
    used = {name for name, _ in context.store.read().counts(bill_sql.ACCOUNTS_USED)}
    known = sorted({*entries(), *PROVIDER_VARIABLES, *used})
    if provider not in known:
        words = f"no provider is called {provider!r}{did_you_mean(provider, known)}"
        raise UsageError(words, hint=f"one of: {', '.join(known)}")


def _only_account(context: Context, provider: str) -> str:
    """The account in which our runs at the provider are."""
    used = [account for name, account in context.store.read().counts(bill_sql.ACCOUNTS_USED) if name == provider]
    if len(used) == 1:
        return str(used[0])
    words = (
        f"{len(used)} accounts of {provider} are in use: {', '.join(used)}" if used else f"nothing ran at {provider}"
    )
    raise UsageError(f"whose invoice is it? {words}", hint="give --account NAME")


def _check_not_pulled(bill: BillRow | None) -> None:
    if bill is not None and bill.source == SpendSource.BILLING_API:
        raise UsageError(
            f"the bill of {bill.provider} is pulled already: lines of a file would count a second time",
            hint=f"run `ftorch bill pull {bill.provider}`",
        )


class _LineError(Exception):
    """What is wrong in one line: the column, and what about it."""

    def __init__(self, column: str, words: str, hint: str | None = None) -> None:
        super().__init__(words)
        self.column, self.words, self.hint = column, words, hint


class _Reader:
    """Reads one file by a mapping."""

    def __init__(self, name: str, mapped: Mapped, now: datetime) -> None:
        self._name = name
        self._mapped = mapped
        self._columns: Mapping[str, str] = mapped.columns.model_dump()
        self._zone: tzinfo = time_zone(mapped.timezone)
        self._now = now
        self._seen: Counter[str] = Counter()

    def items(self, content: bytes) -> Sequence[LineItem]:
        """Every line. Raises InputError naming all that cannot be read."""
        found: list[LineItem] = []
        faults: list[Fault] = []
        for line, row in self._rows(content):
            try:
                found.append(self._item(row))
            except _LineError as error:
                faults.append(Fault(error.words, self._name, line, error.column, hint=error.hint))
        if faults:
            raise InputError(faults)
        return found

    def _rows(self, content: bytes) -> Iterator[tuple[int, Mapping[str, str]]]:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError([Fault("is not UTF-8", self._name)]) from error
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=self._mapped.delimiter)
        missing = [self._columns[field] for field in _REQUIRED if self._columns[field] not in (rows.fieldnames or ())]
        if missing:
            has = ", ".join(rows.fieldnames or ["none"])
            hint = "name the file's own in a mapping: ftorch bill import FILE --mapping FILE.toml"
            raise InputError([Fault(f"has no column {', '.join(missing)}; it has {has}", self._name, 1, hint=hint)])
        for row in rows:
            if any(value for value in row.values()):
                yield rows.line_num, {key: (value or "").strip() for key, value in row.items() if key is not None}

    def _item(self, row: Mapping[str, str]) -> LineItem:
        self._check_currency(row)
        amount = Money(self._number(row, "amount"))
        start = self._moment(row, "start")
        return LineItem(
            source=SpendSource.INVOICE,
            source_ref=self._reference(row),
            kind=self._kind(row, amount),
            amount=amount,
            quantity=self._number(row, "quantity") if self._has(row, "quantity") else Decimal(1),
            unit=self._text(row, "unit") or "line",
            unit_price=self._number(row, "unit_price") if self._has(row, "unit_price") else None,
            period=self._period(row, start),
            as_of=self._moment(row, "as_of") if self._has(row, "as_of") else self._now,
            description=self._text(row, "description"),
            run_key=self._text(row, "run") or None,
            remote_id=self._text(row, "remote_id") or None,
        )

    def _text(self, row: Mapping[str, str], field: str) -> str:
        return row.get(self._columns[field], "")

    def _has(self, row: Mapping[str, str], field: str) -> bool:
        return bool(self._text(row, field))

    def _number(self, row: Mapping[str, str], field: str) -> Decimal:
        text = self._text(row, field)
        if _NUMBER.match(text):
            return Decimal(text)
        words = "has a comma, which may mean thousands or decimals" if "," in text else "is not a number"
        raise _LineError(self._columns[field], f"{text!r} {words}", "write it as 1234.50")

    def _check_currency(self, row: Mapping[str, str]) -> None:
        if self._text(row, "currency") not in ("", USD):
            words = f"{self._text(row, 'currency')!r} is not supported; version 1 keeps its books in USD"
            raise _LineError(self._columns["currency"], words)

    def _moment(self, row: Mapping[str, str], field: str) -> datetime:
        text, form = self._text(row, field), self._mapped.date
        try:
            moment = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007  the zone comes next
        except ValueError:
            expected = f"a date as {form}" if form else "a date such as 2026-10-31 or 2026-10-31T12:00:00Z"
            raise _LineError(self._columns[field], f"{text!r} is not {expected}") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=self._zone)

    def _period(self, row: Mapping[str, str], start: datetime) -> Window:
        end = self._moment(row, "end") if self._has(row, "end") else start
        end += _DAY if self._mapped.end_included and self._has(row, "end") else timedelta(0)
        if end < start:
            raise _LineError(self._columns["end"], f"{self._text(row, 'end')!r} is before the start")
        return Window(start, end)

    def _kind(self, row: Mapping[str, str], amount: Money) -> EntryKind:
        word = self._text(row, "kind")
        if not word:
            return EntryKind.BILLED if amount.amount >= 0 else EntryKind.ADJUSTED
        kinds = {**{kind.value: kind.value for kind in EntryKind}, **self._mapped.kinds}
        if word not in kinds or kinds[word] == EntryKind.PROVISIONAL:
            hint = f'say what it is in the mapping: [kinds] "{word}" = "billed", "adjusted", "tax" or "credit"'
            raise _LineError(self._columns["kind"], f"{word!r} is not a kind that the mapping knows", hint)
        return EntryKind(kinds[word])

    def _reference(self, row: Mapping[str, str]) -> str:
        """The provider's own, else the line's content; lines that differ in nothing are numbered."""
        if self._has(row, "reference"):
            return self._text(row, "reference")
        digest = hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()[:24]
        self._seen[digest] += 1
        return digest if self._seen[digest] == 1 else f"{digest}/{self._seen[digest]}"
