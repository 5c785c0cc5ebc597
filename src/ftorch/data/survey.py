"""The first pass over a file: rows are checked, fingerprinted and given to a split, and not kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ftorch.data.duplicates import Marked, Repeats, Seen
from ftorch.data.fingerprint import answer_print, fingerprint
from ftorch.data.formats import Format
from ftorch.data.labels import Labels
from ftorch.data.leaks import Leaks
from ftorch.data.read import Reader, Source
from ftorch.data.records import Kind, Preference, Record, Split
from ftorch.data.report import Findings
from ftorch.data.scan import scan
from ftorch.data.split import Splits

_FEW_SYSTEMS = 1000
_LONGER_SHARE = 0.7
_ENOUGH_PAIRS = 20


class Survey:
    """What one pass leaves behind: about twenty bytes a row, and the fingerprints of rows that are not for training."""

    def __init__(self, source: Source, form: Format, findings: Findings, labels: Labels) -> None:
        self.source = source
        self.form = form
        self.labels = labels
        self.splits = Splits()
        self.marked: Mapping[Split, Marked] = {Split.HELD_OUT: Marked(), Split.VALIDATION: Marked()}
        """The rows that are not for training."""
        self.sha256 = ""
        self._findings = findings
        self._seen = Seen()
        self._systems: dict[str, int] = {}
        self._longer = 0

    def run(self, split_of: Callable[[int], Split], leaks: Leaks, advance: Callable[[int], None]) -> None:
        """Read the file once."""
        reader = Reader(self.source, advance)
        for line, record in scan(reader, self.form, self._findings):
            seen = fingerprint(record.prompt)
            split = split_of(seen)
            self.splits.append(split)
            if split is not Split.TRAIN:
                self.marked[split].add(seen, line)
            if split is not Split.HELD_OUT:
                leaks.check(seen, self.source, line)
            self._seen.add(seen, answer_print(record), line)
            self.labels.see(record, self.source, line, self.form.answer_key, self._findings)
            self._note(record, line)
        self.sha256 = reader.sha256

    def note_whole(self) -> None:
        """What only the whole file shows: D115, D206, D401, D403."""
        self._note_systems()
        self._note_lengths()
        self._note_repeats("D401", "the same row as line {}", self._seen.copies())
        if self.form.kind is Kind.COMPLETION:
            self._note_repeats("D403", "the prompt of line {} with another answer", self._seen.conflicts())

    def _note(self, record: Record, line: int) -> None:
        if isinstance(record, Preference):
            self._longer += len(record.chosen[0].content) > len(record.rejected[0].content)
        if record.prompt[0].role == "system" and len(self._systems) < _FEW_SYSTEMS:
            self._systems.setdefault(record.prompt[0].content, line)

    def _note_systems(self) -> None:
        if len(self._systems) > 1:
            count = f"{len(self._systems)}" if len(self._systems) < _FEW_SYSTEMS else f"{_FEW_SYSTEMS} or more"
            shown = "; ".join(f"line {line}: {text!r:.60}" for text, line in list(self._systems.items())[:3])
            self._findings.add("D115", f"{count} different system prompts: {shown}", file=self.source.name)

    def _note_lengths(self) -> None:
        rows = len(self.splits)
        if rows >= _ENOUGH_PAIRS and self._longer > _LONGER_SHARE * rows:
            words = f"the chosen answer is the longer one in {self._longer} of {rows} rows"
            self._findings.add("D206", words, file=self.source.name, hint="add pairs in which the short answer wins")

    def _note_repeats(self, rule: str, words: str, repeats: Repeats) -> None:
        for line, first in repeats.first:
            self._findings.add(rule, words.format(first), file=self.source.name, line=line)
        self._findings.add_more(rule, repeats.count - len(repeats.first))
