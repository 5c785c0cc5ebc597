"""The closed set of answers of a classification dataset: given in the manifest, or seen in the dataset file."""

from __future__ import annotations

from ftorch.core.suggest import did_you_mean
from ftorch.data.read import Source
from ftorch.data.records import Record, answers
from ftorch.data.report import Findings
from ftorch.manifest.schema import Dataset

_MOST = 1000
"""Distinct answers beyond which nobody means a closed set; it also bounds the memory."""


class Labels:
    """The labels of one file. With `labels: from_data` they are collected, else each answer is looked up."""

    def __init__(self, dataset: Dataset) -> None:
        self._closed = dataset.labels if isinstance(dataset.labels, tuple) else None
        self._collects = dataset.labels == "from_data"
        self._first_lines: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The set, sorted where it was collected, in the manifest's order where it was given."""
        return self._closed or tuple(sorted(self._first_lines))

    def see(self, record: Record, source: Source, line: int, key: str | None, findings: Findings) -> None:
        """Note the answers of one row. Raises DataError when what is collected is no set of labels."""
        if self._closed is not None:
            for answer in answers(record):
                if answer not in self._closed:
                    _note_unknown(answer, self._closed, source, line, key, findings)
        elif self._collects:
            for answer in answers(record):
                self._first_lines.setdefault(answer, line)
            if len(self._first_lines) > _MOST:
                hint = "labels are for classification; leave dataset.labels out for free text"
                raise source.fault(f"more than {_MOST} different answers: no closed set of labels", hint=hint)

    def check_within(self, names: tuple[str, ...], source: Source, key: str | None, findings: Findings) -> None:
        """D601 for each collected answer that the dataset file never gives, once."""
        if self._collects:
            for answer, line in self._first_lines.items():
                if answer not in names:
                    _note_unknown(answer, names, source, line, key, findings)


def _note_unknown(
    answer: str, names: tuple[str, ...], source: Source, line: int, key: str | None, findings: Findings
) -> None:
    words = f"{answer!r:.60} is not one of the {len(names)} labels{did_you_mean(answer, names)}"
    hint = "mend the answer, or add it to dataset.labels"
    findings.add("D601", words, file=source.name, line=line, key=key, hint=hint)
