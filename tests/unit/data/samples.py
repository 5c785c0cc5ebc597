"""Rows and files for the tests of the data layer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ftorch.data import Prepared, Report, prepare
from ftorch.data.detect import detect
from ftorch.data.read import Reader, Source
from ftorch.data.records import Record
from ftorch.data.report import Findings
from ftorch.data.scan import scan
from ftorch.manifest.schema import Dataset, Dpo, Sft

Row = dict[str, Any]
SFT = Sft(type="sft", batch_size=1)
DPO = Dpo(type="dpo", batch_size=1)


def user(content: Any, **more: Any) -> Row:
    return {"role": "user", "content": content, **more}


def assistant(content: Any, **more: Any) -> Row:
    return {"role": "assistant", "content": content, **more}


def system(content: Any) -> Row:
    return {"role": "system", "content": content}


def chat(*messages: Row, **more: Any) -> Row:
    return {"messages": list(messages), **more}


GOOD = chat(user("Hi"), assistant("Hello"))
PAIR = {"prompt": "Where is my card?", "completion": "card_arrival"}
TRIPLE = {"prompt": "Say hi", "chosen": "Hello!", "rejected": "No."}


def pairs(count: int, word: str = "Question") -> list[Row]:
    return [{"prompt": f"{word} {number}", "completion": f"Answer {number}"} for number in range(count)]


def triples(count: int) -> list[Row]:
    return [{"prompt": f"Ask {n}", "chosen": f"Yes {n}", "rejected": f"Not {n}"} for n in range(count)]


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    """Rows as JSON lines; bytes and text go in as they are."""
    path.write_bytes(b"".join(_line(row) for row in rows))
    return path


def _line(row: Any) -> bytes:
    raw = row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode()
    return raw + b"\n"


def scanned(path: Path, *, thorough: bool = False, **dataset: Any) -> tuple[list[tuple[int, Record]], Report]:
    """The good rows of one file with their lines, and the faults of its rows."""
    source = Source(path, path.name, "dataset.path")
    asked = Dataset(path=path.name, **dataset)
    findings = Findings(path.name)
    rows = list(scan(Reader(source), detect(source, asked), findings, thorough=thorough))
    return rows, findings.report()


def found(report: Report) -> list[tuple[str | None, int | None]]:
    """(rule, line) of every finding, in file order."""
    return [(fault.rule, fault.line) for fault in report.faults]


def prepared(path: Path, method: Sft | Dpo = SFT, **dataset: Any) -> Prepared:
    return prepare(Dataset(path=path.name, **dataset), method, folder=path.parent)


def lines(path: Path) -> Sequence[Row]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]
