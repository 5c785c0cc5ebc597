"""The frozen rows of jobs: which prompts a training has seen, and which rows are new beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from ftorch.core.errors import DataError, Fault
from ftorch.core.files import replacing
from ftorch.core.paths import Home
from ftorch.data.fingerprint import fingerprint
from ftorch.data.freeze import FILE_NAMES
from ftorch.data.records import Message
from ftorch.jobs.bundle import TRAIN


def prompts(path: Path) -> Iterator[int]:
    """The fingerprint of every prompt of a split file; nothing where there is no such file."""
    yield from (print_of(line) for line in lines(path))


def trained_rows(dataset: Path) -> Path:
    """The rows of a training. Raises DataError where they are gone: nobody can tell then what it has seen."""
    rows = dataset / TRAIN
    if not rows.is_file():
        words = "the rows that an adapter was trained on are not here: nobody can tell which rows it has not seen"
        raise DataError([Fault(words, file=str(rows), key="dataset")])
    return rows


def lines(path: Path) -> Iterator[bytes]:
    """The rows of a split file as they lie there; nothing where there is no such file."""
    if path.is_file():
        with path.open("rb") as stream:
            yield from stream


def print_of(line: bytes) -> int:
    """The fingerprint of one frozen row's prompt."""
    return fingerprint(messages(json.loads(line)["prompt"]))


def messages(prompt: Sequence[Mapping[str, str]]) -> list[Message]:
    """A frozen prompt, or one that is ready to be sent, as the data layer has it."""
    return [Message(role=message["role"], content=message["content"]) for message in prompt]  # type: ignore[arg-type]  # the frozen file has only these roles


def keep(home: Home, rows: Iterable[bytes]) -> Path:
    """A file of rows, named by its content: the same rows are one file, and are answered once."""
    text = b"".join(rows)
    path = home.evaluations / "rows" / f"{sha256(text).hexdigest()[:32]}.jsonl"
    if not path.exists():
        with replacing(path) as stream:
            stream.write(text)
    return path


def rows_beside(now: Path, then: Path) -> list[bytes]:
    """The rows of one frozen dataset whose prompts another does not have, in any split."""
    known = {found for name in FILE_NAMES.values() for found in prompts(then / name)}
    return [line for name in FILE_NAMES.values() for line in lines(now / name) if print_of(line) not in known]
