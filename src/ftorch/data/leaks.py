"""D404: a row that the model is examined on must not be one that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping

from ftorch.data.lock import LOCK_NAME
from ftorch.data.read import Source
from ftorch.data.report import Findings


class Leaks:
    """Knows every prompt that must not be trained on: rows of other files, and rows of the lock."""

    def __init__(self, findings: Findings, locked: Mapping[int, str]) -> None:
        self._findings = findings
        self._locked = locked
        self._files: list[tuple[Source, Mapping[int, int]]] = []

    def forbid(self, source: Source, lines: Mapping[int, int]) -> None:
        """From now on no row may have a prompt of this file. `lines`: fingerprint -> line."""
        self._files.append((source, lines))

    def check(self, fingerprint: int, source: Source, line: int) -> None:
        """Note the first place where the prompt is also held out."""
        for other, lines in self._files:
            if fingerprint in lines and other is not source:
                self._note(
                    source, line, f"also in {other.name}:{lines[fingerprint]}", "remove it from one of the files"
                )
                return
        if entry := self._locked.get(fingerprint):
            words = f"held out before: {LOCK_NAME} has it under {entry!r}"
            hint = f"remove the row, or delete the entry {entry!r} of {LOCK_NAME} to start a new held-out set"
            self._note(source, line, words, hint)

    def _note(self, source: Source, line: int, words: str, hint: str) -> None:
        self._findings.add("D404", words, file=source.name, line=line, hint=hint)
