"""What the checks found: the first findings of each rule in file order, and the number of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ftorch.core.errors import DataError, Fault
from ftorch.data.rules import CATALOGUE, Level

SHOWN = 20
"""Findings of one rule that are kept; the others are only counted, so that a report never grows with the file."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault and what it means for the job."""

    fault: Fault
    level: Level

    def __str__(self) -> str:
        """`data/a.jsonl:17: D107 error: messages[1].role: two 'user' turns in a row`."""
        fault = self.fault
        place = ":".join(str(part) for part in (fault.file, fault.line) if part is not None)
        return ": ".join(part for part in (place, f"{fault.rule} {self.level}", fault.key, fault.message) if part)


@dataclass(frozen=True, slots=True)
class Report:
    """All that is known about a dataset's faults. `counts` holds every finding, `findings` the first of each rule."""

    findings: Sequence[Finding]
    counts: Mapping[str, int]

    @property
    def faults(self) -> Sequence[Fault]:
        """Every kept fault, in file order, whatever its level."""
        return self._at(*Level)

    @property
    def errors(self) -> Sequence[Fault]:
        return self._at(Level.ERROR)

    @property
    def warnings(self) -> Sequence[Fault]:
        return self._at(Level.WARN)

    @property
    def ok(self) -> bool:
        """Whether the dataset may be trained on. Warnings do not count."""
        return not self.errors

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield from map(str, self.findings)
        yield from map(str, self._rest(*Level))

    def raise_if_errors(self) -> None:
        """Raise DataError with every kept error, and a count of those that were not kept."""
        if not self.ok:
            raise DataError([*self.errors, *self._rest(Level.ERROR)])

    def _at(self, *levels: Level) -> Sequence[Fault]:
        return tuple(finding.fault for finding in self.findings if finding.level in levels)

    def _rest(self, *levels: Level) -> Iterator[Fault]:
        kept = Counter(fault.rule for fault in self._at(*levels))
        for rule, shown in kept.items():
            if rule and self.counts[rule] > shown:
                yield Fault(f"… and {self.counts[rule] - shown} more", rule=rule)


class Findings:
    """Collects findings while files are read. Memory stays flat: of each rule the first `SHOWN` are kept.

    `files` is the order in which a report names them.
    """

    def __init__(self, *files: str) -> None:
        self._kept: dict[str, list[Finding]] = {}
        self._counts: Counter[str] = Counter()
        self._files = files

    def add(
        self,
        rule: str,
        message: str,
        *,
        file: str,
        line: int | None = None,
        key: str | None = None,
        hint: str | None = None,
        level: Level | None = None,
    ) -> None:
        """Note one finding. `level` overrules the catalogue, for what is only an estimate."""
        self._counts[rule] += 1
        kept = self._kept.setdefault(rule, [])
        if len(kept) < SHOWN:
            fault = Fault(message, file=file, line=line, key=key, rule=rule, hint=hint)
            kept.append(Finding(fault, level or CATALOGUE[rule].level))

    def add_more(self, rule: str, more: int) -> None:
        """Findings of a rule that were counted elsewhere and are not shown."""
        if more > 0:
            self._counts[rule] += more

    def replace(self, rule: str, message: str, *, file: str, key: str, hint: str, level: Level | None = None) -> None:
        """One finding instead of all of a rule: when every row breaks it, the cause is not in the rows."""
        self._counts.pop(rule, None)
        self._kept.pop(rule, None)
        self.add(rule, message, file=file, key=key, hint=hint, level=level)

    @property
    def has_errors(self) -> bool:
        return any(finding.level is Level.ERROR for kept in self._kept.values() for finding in kept)

    def report(self) -> Report:
        """Everything so far, in file order; what concerns a whole file comes after its rows."""
        kept = [finding for of_rule in self._kept.values() for finding in of_rule]
        return Report(sorted(kept, key=self._position), dict(self._counts))

    def _position(self, finding: Finding) -> tuple[int, float]:
        file, line = finding.fault.file, finding.fault.line
        place = self._files.index(file) if file in self._files else len(self._files)
        return place, float("inf") if line is None else line


class Notes:
    """What is found in one row. Used once for each row that needs the full check."""

    def __init__(self, findings: Findings, file: str, line: int) -> None:
        self._findings = findings
        self._file = file
        self._line = line
        self.has_errors = False

    def add(self, rule: str, message: str, *, key: str | None = None, hint: str | None = None) -> None:
        self.has_errors = self.has_errors or CATALOGUE[rule].level is Level.ERROR
        self._findings.add(rule, message, file=self._file, line=self._line, key=key, hint=hint)
