"""From a row as the file has it to the row as it is trained: the prompt template and the system message go in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ftorch.core.errors import DataError, Fault
from ftorch.data.formats import Format
from ftorch.data.records import Message, Record
from ftorch.manifest.schema import DataFormat, Dataset

_TEXT, _LABELS = "{text}", "{labels}"


@dataclass(frozen=True, slots=True)
class Renderer:
    """Applies `dataset.prompt` and `dataset.system`; the same row and labels give the same record."""

    system: str | None
    before: str
    after: str
    """The template left and right of `{text}`; both empty where there is none."""

    @classmethod
    def of(cls, dataset: Dataset, labels: Sequence[str], form: Format) -> Renderer:
        # Cut at the text before the labels go in: braces inside a label or a text are never read.
        template = dataset.prompt if form.name is DataFormat.COLUMNS else None
        before, _, after = (template or _TEXT).partition(_TEXT)
        listed = ", ".join(labels)
        return cls(dataset.system, before.replace(_LABELS, listed), after.replace(_LABELS, listed))

    def render(self, record: Record) -> Record:
        prompt = list(record.prompt)
        if self.before or self.after:
            prompt[-1] = Message("user", f"{self.before}{prompt[-1].content}{self.after}")
        if self.system and prompt[0].role != "system":
            prompt.insert(0, Message("system", self.system))
        return msgspec.structs.replace(record, prompt=prompt)


def check_prompt(dataset: Dataset, form: Format) -> None:
    """Raise DataError for a template that cannot work."""
    if dataset.prompt is None:
        return
    if form.name is not DataFormat.COLUMNS:
        raise _fault(f"is for rows with columns; these are {form.name} rows, which bring their prompt", "leave it out")
    if _TEXT not in dataset.prompt:
        raise _fault(f"does not say where the text goes: {_TEXT} is missing", f"prompt: 'Classify: {_TEXT}'")
    if _LABELS in dataset.prompt and dataset.labels is None:
        raise _fault(f"names {_LABELS}, and dataset.labels is not set", "set dataset.labels: from_data, or list them")


def _fault(message: str, hint: str) -> DataError:
    return DataError([Fault(message, key="dataset.prompt", hint=hint)])
