"""Which format a file is written in: said by the manifest, or seen in its first row."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import msgspec

from ftorch.core.errors import DataError, Fault
from ftorch.core.suggest import did_you_mean
from ftorch.data.formats import MESSAGES, PROMPT_COMPLETION, Format
from ftorch.data.parse import UNREADABLE, Object
from ftorch.data.preference import PREFERENCES, PREFERRED_OUTPUTS
from ftorch.data.read import BOM, Reader, Source
from ftorch.data.records import Kind
from ftorch.data.tables import Table
from ftorch.manifest.schema import Columns, DataFormat, Dataset

_A_ROW = (
    'a row looks like {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}, '
    '{"prompt": "...", "completion": "..."} or {"prompt": "...", "chosen": "...", "rejected": "..."}'
)
_LOOKED_AT = 100
"""Lines in which a readable row is looked for."""
_NOT_READ_YET = {"conversations": "ShareGPT", "instruction": "Alpaca"}
_OTHER_METHOD = {
    "sft": "use method.type: dpo, or write each chosen answer as the completion of its prompt",
    "dpo": "use method.type: sft, or give each prompt a chosen and a rejected answer",
}
_LEARNS_FROM = {"sft": Kind.COMPLETION, "dpo": Kind.PREFERENCE}


def detect(source: Source, dataset: Dataset) -> Format:
    """The format of a file; reads its first lines. Raises DataError where it is none that ftorch reads."""
    source.check()
    if source.is_table:
        if dataset.format not in (DataFormat.AUTO, DataFormat.COLUMNS):
            raise source.fault(f"a .csv file holds columns, not {dataset.format} rows", hint="leave dataset.format out")
        return Table(_columns(source, dataset.columns, _header(source)))
    line, row = _first_row(source)
    name = _name(source, dataset, line, row)
    if name is DataFormat.COLUMNS:
        return Table(_columns(source, dataset.columns, list(row)))
    return _of_name(name, row)


def check_method(source: Source, form: Format, method: str) -> None:
    """Raise DataError unless the rows are what the method learns from."""
    wanted = _LEARNS_FROM[method]
    if form.kind is not wanted:
        message = f"method {method} learns from {wanted} rows, and these are {form.kind} rows (format {form.name})"
        raise DataError([Fault(message, file=source.name, key="method.type", hint=_OTHER_METHOD[method])])


def signature(keys: Collection[str]) -> DataFormat | None:
    """The format that a JSON row with these keys is written in, as far as the keys tell."""
    if "messages" in keys:
        return DataFormat.MESSAGES
    if not {"chosen", "rejected", "preferred_output", "non_preferred_output"}.isdisjoint(keys):
        return DataFormat.PREFERENCE
    if "prompt" in keys or "completion" in keys:
        return DataFormat.PROMPT_COMPLETION
    return None


def _name(source: Source, dataset: Dataset, line: int, row: Object) -> DataFormat:
    if dataset.format is not DataFormat.AUTO:
        return dataset.format
    if dataset.columns or _guess(list(row)):
        return DataFormat.COLUMNS
    # A file without one readable row has no format: any will do to say what is wrong with each line.
    found = signature(row) if row else DataFormat.MESSAGES
    if found is None:
        raise _unknown(source, line, row)
    return found


def _of_name(name: DataFormat, row: Object) -> Format:
    match name:
        case DataFormat.PREFERENCE:
            return PREFERRED_OUTPUTS if "preferred_output" in row or "input" in row else PREFERENCES
        case DataFormat.PROMPT_COMPLETION:
            return PROMPT_COMPLETION
        case _:
            return MESSAGES


def _first_row(source: Source) -> tuple[int, Object]:
    """The first line that holds an object, and the object; line 1 and nothing where there is none."""
    for number, line in enumerate(_first_lines(source), start=1):
        try:
            row = msgspec.json.decode(line)
        except UNREADABLE:
            continue
        if isinstance(row, dict) and row:
            return number, row
    return 1, {}


def _first_lines(source: Source) -> Iterator[bytes]:
    """Enough of the file to see a row in it."""
    for index, line in enumerate(islice(Reader(source).lines(), _LOOKED_AT)):
        yield line if index else line.removeprefix(BOM)


def _header(source: Source) -> Sequence[str]:
    lines = (line.decode(errors="replace") for line in _first_lines(source))
    try:
        return next((row for row in csv.reader(lines) if row), [])
    except csv.Error as error:
        raise source.fault(f"the first line is not CSV: {error}") from error


def _columns(source: Source, named: Columns | None, found: Sequence[str]) -> Columns:
    columns = named or _guess(found)
    listed = ", ".join(found) or "none"
    if columns is None:
        hint = "name them in the manifest: columns: {text: COLUMN, label: COLUMN}"
        raise DataError(
            [
                Fault(
                    f"which columns are prompt and answer? there are: {listed}",
                    file=source.name,
                    key="dataset.columns",
                    hint=hint,
                )
            ]
        )
    if not columns.label and not (columns.chosen and columns.rejected):
        raise DataError([Fault("names no answer", key="dataset.columns", hint="give label, or chosen and rejected")])
    wanted = [name for name in (columns.text, columns.label, columns.chosen, columns.rejected) if name]
    missing = [name for name in wanted if name not in found]
    if missing and found:
        faults = [
            Fault(
                f"no column {name!r}{did_you_mean(name, found)}",
                file=source.name,
                line=1,
                key="dataset.columns",
                rule="D201",
            )
            for name in missing
        ]
        raise DataError(faults, hint=f"the columns are: {listed}")
    return columns


def _guess(found: Collection[str]) -> Columns | None:
    """The columns of a table whose names say what they are."""
    if {"text", "label"} <= set(found):
        return Columns(label="label")
    if {"text", "chosen", "rejected"} <= set(found):
        return Columns(chosen="chosen", rejected="rejected")
    return None


def _unknown(source: Source, line: int, row: Object) -> DataError:
    tool = next((tool for key, tool in _NOT_READ_YET.items() if key in row), None)
    keys = ", ".join(map(repr, row))
    message = f"{tool} rows are not read yet" if tool else f"no format has the keys {keys}"
    return DataError([Fault(message, file=source.name, line=line, key="dataset.format", hint=_A_ROW)])
