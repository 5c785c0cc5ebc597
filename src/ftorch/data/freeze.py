"""A dataset made ready: checked, split, counted and hashed without writing a byte; written when a job is taken in.

Memory stays flat because rows are never kept: the first pass checks them and gives each to a split, the second renders,
hashes and counts them. `Prepared.write` is a third pass, and must find the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from ftorch.core.clock import Clock, SystemClock, rfc3339
from ftorch.core.errors import DataError, Fault
from ftorch.core.files import locked, replacing, sha256_file
from ftorch.data.first_pass import Checked, check
from ftorch.data.lock import Entry, read_lock, save_lock, to_rows
from ftorch.data.read import Progress, Reader, Source
from ftorch.data.records import Kind, Record, Split, to_line
from ftorch.data.render import Renderer
from ftorch.data.report import Findings, Report
from ftorch.data.scan import scan
from ftorch.data.survey import Survey
from ftorch.data.template import load_tokenizer
from ftorch.data.tokens import Lengths, TokenCount
from ftorch.manifest.plan import DatasetFacts
from ftorch.manifest.schema import Dataset, Dpo, HeldOutFile, Sft

FILE_NAMES: Mapping[Split, str] = {split: f"{split}.jsonl" for split in Split}
"""What `Prepared.write` writes; no validation file where the manifest asks for none."""

Hashes = Mapping[Split, str]


def prepare(
    dataset: Dataset,
    method: Sft | Dpo,
    *,
    folder: Path,
    tokenizer: Path | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Check, split, hash and count a dataset. Nothing is written.

    `folder` is the manifest's: paths are relative to it. `tokenizer` is a folder with the base's `tokenizer.json` and
    chat template; without one tokens are estimated. Faults of rows are in the report, and with an error there the
    result has no facts. Raises DataError at once where a file is missing, is no text, has no known format, or holds
    rows that the method cannot learn from.
    """
    checked = check(dataset, method, folder, progress)
    if checked.findings.has_errors:
        return Prepared(checked, checked.findings.report())
    main = checked.surveys[0]
    lengths = Lengths(
        load_tokenizer(tokenizer),
        method.max_length,
        rows=main.splits.count(Split.TRAIN),
        source=main.source,
        findings=checked.findings,
    )
    hashes = _hash_and_count(checked, lengths)
    tokens = lengths.result()
    return Prepared(checked, checked.findings.report(), _facts(checked, hashes, tokens), tokens)


class Prepared:
    """What is known about a dataset. Holds no rows: `write` reads the files again."""

    def __init__(
        self, checked: Checked, report: Report, facts: DatasetFacts | None = None, tokens: TokenCount | None = None
    ) -> None:
        self.report = report
        self._checked = checked
        self._facts = facts
        self._tokens = tokens

    @property
    def facts(self) -> DatasetFacts:
        """What the plan needs. Raises DataError where the report has errors."""
        self.report.raise_if_errors()
        assert self._facts is not None
        return self._facts

    @property
    def tokens(self) -> TokenCount:
        """How the tokens were counted. Raises DataError where the report has errors."""
        self.report.raise_if_errors()
        assert self._tokens is not None
        return self._tokens

    @property
    def labels(self) -> tuple[str, ...]:
        """The closed set of answers, where `dataset.labels` asks for one."""
        return self._checked.labels

    @property
    def kind(self) -> Kind:
        return self._checked.kind

    def write(self, dest: Path) -> None:
        """Write the split files into `dest`, each all or nothing. Files that are there already are left as they are.

        Raises DataError where the report has errors or the dataset has changed since it was prepared.
        """
        wanted = _wanted(self.facts)
        if all(_is_there(dest / FILE_NAMES[split], sha256) for split, sha256 in wanted.items()):
            return
        with ExitStack() as stack:
            streams = {split: stack.enter_context(replacing(dest / FILE_NAMES[split])) for split in wanted}
            digests = {split: hashlib.sha256() for split in wanted}
            for split, _, record in _rendered(self._checked, _silent):
                line = to_line(record)
                streams[split].write(line)
                digests[split].update(line)
            if {split: digest.hexdigest() for split, digest in digests.items()} != wanted:
                raise _changed(self._checked.surveys[0].source)

    def write_lock(self, clock: Clock | None = None) -> Path:
        """Add the held-out rows to `heldout.lock` beside the dataset. Called at submit; twice is harmless.

        Raises StoreError where the folder cannot be written.
        """
        self.report.raise_if_errors()
        main = self._checked.surveys[0]
        folder = main.source.path.parent
        entry = _entry(self._checked, rfc3339((clock or SystemClock()).now()))
        with locked(folder):
            return save_lock(folder, read_lock(folder).with_entry(main.source.path.name, entry))


def _hash_and_count(checked: Checked, lengths: Lengths) -> Hashes:
    digests = {split: hashlib.sha256() for split in Split}
    for split, line, record in _rendered(checked, checked.meter.advance):
        digests[split].update(to_line(record))
        if split is Split.TRAIN:
            lengths.add(record, line)
    return {split: digest.hexdigest() for split, digest in digests.items()}


def _rendered(checked: Checked, advance: Callable[[int], None]) -> Iterator[tuple[Split, int, Record]]:
    """Every row as it is trained, with its split and its line, file after file. Raises DataError for changed files."""
    for survey in checked.surveys:
        yield from _rows(survey, Renderer.of(checked.dataset, checked.labels, survey.form), advance)


def _rows(survey: Survey, renderer: Renderer, advance: Callable[[int], None]) -> Iterator[tuple[Split, int, Record]]:
    reader = Reader(survey.source, advance)
    for index, (line, record) in enumerate(scan(reader, survey.form, Findings())):
        if index == len(survey.splits):
            break
        yield survey.splits[index], line, renderer.render(record)
    if reader.sha256 != survey.sha256:
        raise _changed(survey.source)


def _silent(_: int) -> None:
    """Writing has no progress bar: it is fast."""


def _changed(source: Source) -> DataError:
    words = "the file changed while it was read"
    return DataError([Fault(words, file=source.name, key=source.key, hint="try again when nobody writes to it")])


def _facts(checked: Checked, hashes: Hashes, tokens: TokenCount) -> DatasetFacts:
    has_validation = checked.dataset.validation is not None
    validation = hashes[Split.VALIDATION] if has_validation else None
    return DatasetFacts(
        source=checked.dataset.path,
        content_hash=_content_hash(checked.kind, hashes[Split.TRAIN], validation, hashes[Split.HELD_OUT]),
        train_sha256=hashes[Split.TRAIN],
        validation_sha256=validation,
        held_out_sha256=hashes[Split.HELD_OUT],
        train_rows=checked.rows(Split.TRAIN),
        validation_rows=checked.rows(Split.VALIDATION),
        held_out_rows=checked.rows(Split.HELD_OUT),
        train_tokens=tokens.total,
        token_source=tokens.source,
        longest_row_tokens=tokens.per_row_longest,
        labels=checked.labels,
    )


def _content_hash(kind: Kind, train: str, validation: str | None, held_out: str) -> str:
    text = f"{kind}\n{train}\n{validation or '-'}\n{held_out}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def _wanted(facts: DatasetFacts) -> dict[Split, str]:
    """The files to write, with their hashes."""
    hashes = {
        Split.TRAIN: facts.train_sha256,
        Split.VALIDATION: facts.validation_sha256,
        Split.HELD_OUT: facts.held_out_sha256,
    }
    return {split: sha256 for split, sha256 in hashes.items() if sha256}


def _is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def _entry(checked: Checked, created: str) -> Entry:
    asked = checked.dataset.held_out
    held_out = {row for survey in checked.surveys for row in survey.marked[Split.HELD_OUT]}
    sha256, rows = checked.surveys[0].sha256, to_rows(held_out)
    if isinstance(asked, HeldOutFile):
        return Entry(created, sha256, rows, path=asked.path)
    return Entry(created, sha256, rows, by=asked.by, fraction=asked.fraction, seed=asked.seed)
