"""How many tokens one epoch reads, and which rows are too long for `max_length`."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ftorch.data.read import Source
from ftorch.data.records import Completion, Message, Record
from ftorch.data.report import Findings
from ftorch.data.rules import Level
from ftorch.data.template import ChatTokenizer, RefusedError
from ftorch.manifest.plan import TokenSource

SAMPLE_ROWS = 2000
EXACT_BYTES = 4_000_000
"""Up to so many rows, or so large a file, every row is counted: counting costs a hundred times as much as checking."""

_SAMPLE_SEED = 42
_SIGMAS = 1.96
_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 8
_LOW, _HIGH = 0.6, 1.6
"""How far bytes/4 is off in the worst case: code and dense scripts on one side, plain English on the other."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of one epoch of the train split, each row cut at `max_length`."""

    total: int
    per_row_longest: int
    """Before the cut, among the rows that were counted."""
    source: TokenSource
    sampled: bool
    low: int
    high: int
    """With `low`, where the total lies: 95 % of the time for a sample, in all likelihood for an estimate."""


class Counter(Protocol):
    """Counts the tokens of a conversation; `asks` adds the head of the answer."""

    def count(self, messages: Sequence[Message], *, asks: bool = False) -> int: ...


class ByteCounter:
    """The estimate for bases whose tokenizer is not at hand."""

    def count(self, messages: Sequence[Message], *, asks: bool = False) -> int:
        size = sum(_bytes(message.content) for message in messages)
        return math.ceil(size / _BYTES_PER_TOKEN) + _TOKENS_PER_MESSAGE * (len(messages) + asks)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class Lengths:
    """Adds up the train rows of one file, in file order."""

    def __init__(
        self, tokenizer: ChatTokenizer | None, max_length: int, rows: int, source: Source, findings: Findings
    ) -> None:
        is_small = rows <= SAMPLE_ROWS or source.path.stat().st_size <= EXACT_BYTES
        self._counter: Counter = tokenizer or ByteCounter()
        self._is_estimate = tokenizer is None
        self._sample = None if is_small or self._is_estimate else sample(rows)
        self._max_length = max_length
        self._rows = rows
        self._source = source
        self._findings = findings
        self._index = 0
        self._counted = self._lost = self._surely_lost = self._longest = self._sum = self._squares = 0

    def add(self, record: Record, line: int) -> None:
        """Count one train row, if it is in the sample."""
        index, self._index = self._index, self._index + 1
        if self._sample is not None and index not in self._sample:
            return
        try:
            self._count(record, line)
        except RefusedError as error:
            words = f"the base model's chat template refuses it: {error}"
            self._findings.add("D708", words, file=self._source.name, line=line)

    def result(self) -> TokenCount:
        """The total, once every row was added. Replaces one D302 per row by a single one where no row is left."""
        if self._lost and self._lost == self._counted:
            self._note_all_lost()
        total, spread = self._scaled()
        low, high = total - spread, total + spread
        if self._is_estimate:
            low, high = round(total * _LOW), round(total * _HIGH)
        source = TokenSource.ESTIMATE if self._is_estimate else TokenSource.TOKENIZER
        return TokenCount(total, self._longest, source, self._sample is not None, low, high)

    def _count(self, record: Record, line: int) -> None:
        ends = [record.completion] if isinstance(record, Completion) else [record.chosen, record.rejected]
        lengths = [self._counter.count([*record.prompt, *end]) for end in ends]
        size = sum(min(length, self._max_length) for length in lengths)
        self._counted += 1
        self._sum += size
        self._squares += size * size
        self._longest = max(self._longest, *lengths)
        if max(lengths) > self._max_length:
            self._note_long(record, max(lengths), line)

    def _note_long(self, record: Record, length: int, line: int) -> None:
        prompt = self._counter.count(record.prompt, asks=True)
        is_lost = prompt >= self._max_length
        self._lost += is_lost
        self._surely_lost += prompt * (_LOW if self._is_estimate else 1) >= self._max_length
        about = "~" if self._is_estimate else ""
        cut = length - self._max_length
        if is_lost:
            words = f"the prompt alone has {about}{prompt} tokens, max_length is {self._max_length}: nothing is learned"
        else:
            share = 100 * cut / max(length - prompt, 1)
            words = (
                f"{about}{length} tokens, max_length is {self._max_length}: {about}{share:.0f} % of the answer is cut"
            )
        self._findings.add(
            "D302" if is_lost else "D301",
            words,
            file=self._source.name,
            line=line,
            hint=f"raise method.max_length to {about}{length}, or shorten the row",
            level=Level.WARN if self._is_estimate else None,
        )

    def _note_all_lost(self) -> None:
        about = "~" if self._is_estimate else ""
        self._findings.replace(
            "D302",
            f"all {self._rows} rows are too long: every prompt fills max_length, {self._max_length} tokens; "
            f"the longest row has {about}{self._longest}",
            file=self._source.name,
            key="method.max_length",
            hint=f"raise method.max_length to {about}{self._longest}",
            # Even by an estimate: when the low end of it loses every row, nothing could be learned.
            level=None if self._surely_lost == self._counted else Level.WARN,
        )

    def _scaled(self) -> tuple[int, int]:
        """The total, and half the width of its 95 % interval: none where every row was counted."""
        counted, rows = self._counted, self._rows
        if not counted or self._sample is None:
            return self._sum, 0
        mean = self._sum / counted
        variance = max(self._squares / counted - mean * mean, 0.0) * counted / max(counted - 1, 1)
        error = rows * math.sqrt(variance / counted * (rows - counted) / max(rows - 1, 1))
        return round(rows * mean), math.ceil(_SIGMAS * error)


def sample(rows: int) -> frozenset[int]:
    """The rows that are counted of a large file: always the same for the same number of rows."""
    return frozenset(random.Random(_SAMPLE_SEED).sample(range(rows), SAMPLE_ROWS))  # noqa: S311  not for secrets
