"""Rows that are there twice, found with sixteen bytes a row."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest

from ftorch.data.report import SHOWN

_BUCKETS = 256


class _Bucket:
    """The rows whose prompts share eight bits: compared with each other and with no one else."""

    __slots__ = ("answers", "lines", "prompts")

    def __init__(self) -> None:
        self.prompts = array("Q")
        self.answers = array("I")
        self.lines = array("I")


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often something is repeated, and the first of the repeats: (line, line of the first)."""

    count: int
    first: list[tuple[int, int]]


class Marked:
    """The fingerprints of some rows and their lines, in twelve bytes a row."""

    def __init__(self) -> None:
        self._prompts = array("Q")
        self._lines = array("I")

    def add(self, prompt: int, line: int) -> None:
        self._prompts.append(prompt)
        self._lines.append(line)

    def __iter__(self) -> Iterator[int]:
        return iter(self._prompts)

    def lines(self) -> dict[int, int]:
        """Fingerprint -> the first line that has it."""
        return dict(zip(reversed(self._prompts), reversed(self._lines), strict=True))


class Seen:
    """Remembers prompts and answers. A dictionary of all rows would take ten times the memory."""

    def __init__(self) -> None:
        self._buckets = tuple(_Bucket() for _ in range(_BUCKETS))

    def add(self, prompt: int, answer: int, line: int) -> None:
        bucket = self._buckets[prompt % _BUCKETS]
        bucket.prompts.append(prompt)
        bucket.answers.append(answer)
        bucket.lines.append(line)

    def copies(self) -> Repeats:
        """Rows whose prompt and answer came before."""
        return _repeats(pair for bucket in self._buckets for pair in _copies(bucket))

    def conflicts(self) -> Repeats:
        """Rows whose prompt came before with another answer."""
        return _repeats(pair for bucket in self._buckets for pair in _conflicts(bucket))


def _copies(bucket: _Bucket) -> Iterator[tuple[int, int]]:
    first: dict[tuple[int, int], int] = {}
    for prompt, answer, line in zip(bucket.prompts, bucket.answers, bucket.lines, strict=True):
        before = first.setdefault((prompt, answer), line)
        if before != line:
            yield line, before


def _conflicts(bucket: _Bucket) -> Iterator[tuple[int, int]]:
    first: dict[int, tuple[int, int]] = {}
    for prompt, answer, line in zip(bucket.prompts, bucket.answers, bucket.lines, strict=True):
        said, before = first.setdefault(prompt, (answer, line))
        if said != answer:
            yield line, before


def _repeats(found: Iterator[tuple[int, int]]) -> Repeats:
    """Counts a stream of pairs and keeps its first lines, in one pass."""
    count = 0

    def counted() -> Iterator[tuple[int, int]]:
        nonlocal count
        for pair in found:
            count += 1
            yield pair

    first = nsmallest(SHOWN, counted())
    return Repeats(count, first)
