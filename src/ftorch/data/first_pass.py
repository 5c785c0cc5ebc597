"""The first pass over all files of a dataset, and what only shows when they are seen together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftorch.data.detect import check_method, detect
from ftorch.data.formats import Format
from ftorch.data.labels import Labels
from ftorch.data.leaks import Leaks
from ftorch.data.lock import read_lock
from ftorch.data.read import Meter, Progress, Source
from ftorch.data.records import Kind, Split
from ftorch.data.render import check_prompt
from ftorch.data.report import Findings
from ftorch.data.split import Draw, Splitter
from ftorch.data.survey import Survey
from ftorch.manifest.schema import Dataset, Dpo, HeldOut, HeldOutFile, HeldOutFraction, Sft

_PASSES = 2
_FEWEST_ROWS = 50
_ROWS_PER_STEP = 10


@dataclass(frozen=True, slots=True)
class Checked:
    """Every file after the first pass: the dataset first, then files of validation and held-out rows."""

    dataset: Dataset
    surveys: Sequence[Survey]
    findings: Findings
    meter: Meter

    @property
    def kind(self) -> Kind:
        return self.surveys[0].form.kind

    @property
    def labels(self) -> tuple[str, ...]:
        return self.surveys[0].labels.names

    def rows(self, split: Split) -> int:
        return sum(survey.splits.count(split) for survey in self.surveys)


def check(dataset: Dataset, method: Sft | Dpo, folder: Path, progress: Progress | None) -> Checked:
    """Read every file once. Raises DataError where a file cannot be used at all; other faults are findings."""
    sources = _sources(dataset, folder)
    forms = [detect(source, dataset) for source in sources.values()]
    for source, form in zip(sources.values(), forms, strict=True):
        check_method(source, form, method.type)
    check_prompt(dataset, forms[0])
    size = sum(source.path.stat().st_size for source in sources.values())
    meter = Meter(_PASSES * size, progress)
    findings = Findings(*(source.name for source in sources.values()))
    checked = Checked(dataset, _survey(dataset, sources, forms, findings, meter), findings, meter)
    checked.surveys[0].note_whole()
    if not findings.has_errors:
        _check_counts(checked, method.batch_size)
    return checked


def _sources(dataset: Dataset, folder: Path) -> dict[Split, Source]:
    """The files by the split that they bring; the dataset itself stands for train."""
    sources = {Split.TRAIN: Source(folder / dataset.path, dataset.path, "dataset.path")}
    for split, asked in ((Split.VALIDATION, dataset.validation), (Split.HELD_OUT, dataset.held_out)):
        if isinstance(asked, HeldOutFile):
            sources[split] = Source(folder / asked.path, asked.path, f"dataset.{split}.path")
    return sources


def _survey(
    dataset: Dataset, sources: dict[Split, Source], forms: Sequence[Format], findings: Findings, meter: Meter
) -> Sequence[Survey]:
    """Held-out rows are read first: they decide what the others must not have."""
    leaks = Leaks(findings, read_lock(sources[Split.TRAIN].path.parent).holders())
    surveys = {
        split: Survey(source, form, findings, Labels(dataset))
        for (split, source), form in zip(sources.items(), forms, strict=True)
    }
    for split in (Split.HELD_OUT, Split.VALIDATION):
        if survey := surveys.get(split):
            survey.run(_always(split), leaks, meter.advance)
            leaks.forbid(survey.source, survey.marked[split].lines())
    main = surveys[Split.TRAIN]
    main.run(_splitter(dataset).split, leaks, meter.advance)
    for split, survey in surveys.items():
        survey.labels.check_within(main.labels.names, survey.source, survey.form.answer_key, findings)
        if split is Split.VALIDATION:
            _check_drawn(main, survey, findings)
    return list(surveys.values())


def _splitter(dataset: Dataset) -> Splitter:
    return Splitter(_draw(dataset.held_out, Split.HELD_OUT), _draw(dataset.validation, Split.VALIDATION))


def _draw(asked: HeldOut | None, split: Split) -> Draw | None:
    return Draw(asked, split) if isinstance(asked, HeldOutFraction) else None


def _always(split: Split) -> Callable[[int], Split]:
    return lambda _: split


def _check_drawn(main: Survey, validation: Survey, findings: Findings) -> None:
    """Rows of a validation file against held-out rows that were drawn from the dataset."""
    drawn = Leaks(findings, {})
    drawn.forbid(main.source, main.marked[Split.HELD_OUT].lines())
    for fingerprint, line in validation.marked[Split.VALIDATION].lines().items():
        drawn.check(fingerprint, validation.source, line)


def _check_counts(checked: Checked, batch_size: int) -> None:
    """D013 for a split without a row, D012 for few rows to train on."""
    counts = {split: checked.rows(split) for split in Split}
    main, dataset = checked.surveys[0], checked.dataset
    asked = {Split.TRAIN: None, Split.VALIDATION: dataset.validation, Split.HELD_OUT: dataset.held_out}
    for split, wanted in asked.items():
        if not counts[split] and (wanted or split is Split.TRAIN):
            _note_empty(split, wanted, counts, len(main.splits), main.source, checked.findings)
    fewest = max(_FEWEST_ROWS, _ROWS_PER_STEP * batch_size)
    if 0 < counts[Split.TRAIN] < fewest:
        words = f"{counts[Split.TRAIN]} rows to train on; below {fewest} (batch size {batch_size}) little is learned"
        checked.findings.add("D012", words, file=main.source.name, hint="add rows, or lower method.batch_size")


def _note_empty(
    split: Split, wanted: HeldOut | None, counts: dict[Split, int], rows: int, source: Source, findings: Findings
) -> None:
    others = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    words = f"no row is {split}: {rows} rows, of which {others}"
    key, hint = "dataset.held_out", "lower the fractions, or add rows"
    if isinstance(wanted, HeldOutFraction):
        words = f"a fraction of {wanted.fraction:g} drew none of {rows} rows for {split}"
        key, hint = f"dataset.{split}.fraction", "raise the fraction, take another seed, or give a file of rows"
    findings.add("D013", words, file=source.name, key=key, hint=hint)
