"""One pass over a file: its good rows with their line numbers, and every fault on the way."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain

from ftorch.data.detect import signature
from ftorch.data.formats import Format
from ftorch.data.parse import UNREADABLE, parse_object
from ftorch.data.read import BOM, Reader
from ftorch.data.records import Record
from ftorch.data.report import Findings, Notes
from ftorch.data.tables import Table
from ftorch.manifest.schema import DataFormat

Row = tuple[int, Record]
"""The line on which a row begins, counted from 1, and the row."""


def scan(reader: Reader, form: Format, findings: Findings, *, thorough: bool = False) -> Iterator[Row]:
    """Every row without an error. `thorough` gives each row the full check: the rows and faults are the same."""
    if isinstance(form, Table) and reader.source.is_table:
        return _CsvScan(reader, form, findings).rows()
    return _JsonScan(reader, form, findings, thorough=thorough).rows()


class _Scan:
    """What both kinds of files share: faults of the file itself."""

    def __init__(self, reader: Reader, findings: Findings) -> None:
        self._reader = reader
        self._findings = findings
        self._name = reader.source.name

    def _notes(self, line: int) -> Notes:
        return Notes(self._findings, self._name, line)

    def _lines(self) -> Iterator[bytes]:
        """The lines, without a byte order mark."""
        lines = self._reader.lines()
        first = next(lines, b"")
        if first.endswith(b"\r\n"):
            self._notes(1).add("D005", "lines end in CRLF")
        if first.startswith(BOM):
            self._notes(1).add("D002", "the file starts with a byte order mark", hint="save it without one")
            first = first.removeprefix(BOM)
        return chain([first] if first else [], lines)

    def _note_empty(self) -> None:
        self._findings.add("D003", "no rows", file=self._name)


class _JsonScan(_Scan):
    def __init__(self, reader: Reader, form: Format, findings: Findings, *, thorough: bool) -> None:
        super().__init__(reader, findings)
        self._form = form
        self._quick = _never if thorough else form.quick
        self._is_blank = True

    def rows(self) -> Iterator[Row]:
        good, quick = 0, self._quick
        for number, line in enumerate(self._lines(), start=1):
            try:
                record = quick(line)
            except UNREADABLE:
                record = None
            if record is None:
                record = self._full(line, number)
            if record is not None:
                good += 1
                yield number, record
        if not good and self._is_blank:
            self._note_empty()

    def _full(self, line: bytes, number: int) -> Record | None:
        notes = self._notes(number)
        row = parse_object(line.rstrip(b"\r\n"), notes, is_end=not line.endswith(b"\n"))
        self._is_blank = self._is_blank and row is None and not notes.has_errors
        if row is None:
            return None
        found = signature(row)
        if found and self._form.name not in (found, DataFormat.COLUMNS):
            notes.add("D009", f"a {found} row in a file of {self._form.name} rows", hint="one file, one format")
            return None
        record = self._form.full(row, notes)
        return None if notes.has_errors else record


class _CsvScan(_Scan):
    """CSV with a header. A quoted field may run over several lines."""

    def __init__(self, reader: Reader, table: Table, findings: Findings) -> None:
        super().__init__(reader, findings)
        self._table = table
        self._undecoded = 0

    def rows(self) -> Iterator[Row]:
        header: Sequence[str] = ()
        seen = 0
        for start, fields in self._parsed():
            seen += 1
            if not header:
                header = fields
            elif (record := self._record(header, fields, start)) is not None:
                yield start, record
        if seen <= 1:
            self._note_empty()

    def _parsed(self) -> Iterator[tuple[int, list[str]]]:
        """Every row with the line where it begins; broken and blank ones are noted."""
        parsed = csv.reader(self._text(), strict=True)
        while True:
            start = parsed.line_num + 1
            try:
                fields = next(parsed)
            except StopIteration:
                return
            except csv.Error as error:
                self._note_broken(error, start, parsed.line_num)
                continue
            if fields:
                yield start, fields
            else:
                self._notes(start).add("D004", "blank line")

    def _text(self) -> Iterator[str]:
        for number, line in enumerate(self._lines(), start=1):
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                words = f"byte {error.start + 1} of the line, 0x{line[error.start]:02X}, is not UTF-8"
                self._notes(number).add("D001", words)
                self._undecoded = number
                yield line.decode(errors="replace")

    def _record(self, header: Sequence[str], fields: Sequence[str], start: int) -> Record | None:
        if self._undecoded >= start:
            return None
        if len(fields) != len(header):
            words = f"{len(fields)} fields, the header has {len(header)}"
            self._notes(start).add("D006", words, hint="put fields with commas in double quotes")
            return None
        row = dict(zip(header, fields, strict=True))
        return self._table.plain(row) or self._table.full(row, self._notes(start))

    def _note_broken(self, error: csv.Error, start: int, end: int) -> None:
        if "unexpected end of data" in str(error) or end > start:
            words, hint = f"a quoted field that begins here is not closed (read to line {end})", "close the quotes"
        else:
            words, hint = f"not CSV: {error}", "double the quotes inside a quoted field"
        self._notes(start).add("D006", words, hint=hint)


def _never(_: bytes) -> None:
    """The fast path of a thorough scan."""
