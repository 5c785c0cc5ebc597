"""Rows with named columns: CSV, and flat JSON rows. Each column that is named holds text."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ftorch.data.parse import Json, Object, hides_pair
from ftorch.data.records import Completion, Kind, Message, Preference, Record
from ftorch.data.report import Notes
from ftorch.manifest.schema import Columns, DataFormat

_decode = msgspec.json.Decoder(dict[str, Json]).decode
_FLAT = (str, int, float, type(None))


class Table:
    """Columns become prompt and answer; the prompt template comes later, so that it never decides the split."""

    name = DataFormat.COLUMNS

    def __init__(self, columns: Columns) -> None:
        self.kind = Kind.COMPLETION if columns.label else Kind.PREFERENCE
        self.text = columns.text
        self.answers = tuple(name for name in (columns.label, columns.chosen, columns.rejected) if name)
        self.answer_key: str | None = self.answers[0]

    def quick(self, line: bytes) -> Record | None:
        row = _decode(line)
        if not all(isinstance(value, _FLAT) for value in row.values()):
            return None
        texts = sum(isinstance(value, str) for value in row.values())
        return None if hides_pair(line, 2 * (len(row) + texts)) else self.plain(row)

    def plain(self, row: Mapping[str, Json]) -> Record | None:
        """The record of a row without a fault, else None."""
        names = (self.text, *self.answers)
        values = [value for name in names if isinstance(value := row.get(name), str) and value and not value.isspace()]
        if len(values) < len(names):
            return None
        record = self._record(values)
        return None if _is_tie(record) else record

    def full(self, row: Object, notes: Notes) -> Record | None:
        for name in (self.text, *self.answers):
            self._check(row, name, notes)
        if notes.has_errors:
            return None
        record = self._record([row[name] for name in (self.text, *self.answers)])
        if _is_tie(record):
            notes.add("D202", "the chosen and the rejected answer are the same", key=self.answers[1])
            return None
        return record

    def _check(self, row: Object, name: str, notes: Notes) -> None:
        value = row.get(name)
        if name not in row:
            notes.add("D201", "missing", key=name)
        elif not isinstance(value, str):
            notes.add("D104", f"{value!r:.40}, not text", key=name, hint="write it in quotes")
        elif not value.strip():
            rule, words = ("D105", "blank") if name == self.text else ("D701", "blank: nothing of this row is learned")
            notes.add(rule, words, key=name)

    def _record(self, values: list[str]) -> Record:
        text, *answers = values
        prompt = [Message("user", text)]
        said = [[Message("assistant", answer.strip())] for answer in answers]
        return Completion(prompt, said[0]) if len(said) == 1 else Preference(prompt, said[0], said[1])


def _is_tie(record: Record) -> bool:
    return isinstance(record, Preference) and record.chosen[0].content == record.rejected[0].content
