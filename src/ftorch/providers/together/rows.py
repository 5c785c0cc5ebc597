"""The bundle's rows as Together reads them: one line for each of ours, so that a line's number means the same row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from ftorch.data.records import Completion, Message, Preference
from ftorch.manifest.schema import Dpo, Sft

_encode = msgspec.json.Encoder().encode


class _Turn(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    role: str
    content: str
    weight: int | None = None


class _Conversation(msgspec.Struct, frozen=True, gc=False):
    messages: Sequence[_Turn]


class _Input(msgspec.Struct, frozen=True, gc=False):
    messages: Sequence[Message]


class _Preference(msgspec.Struct, frozen=True, gc=False):
    input: _Input
    preferred_output: Sequence[Message]
    non_preferred_output: Sequence[Message]


def convert(source: Path, target: BinaryIO, method: Sft | Dpo) -> None:
    """Write the rows in Together's form. The same rows give the same bytes; none is kept in memory."""
    with source.open("rb") as lines:
        for line in _converted(lines, method):
            target.write(line)


def _converted(lines: BinaryIO, method: Sft | Dpo) -> Iterator[bytes]:
    to_row = _reader(method)
    return (_encode(to_row(line)) + b"\n" for line in lines)


def _reader(method: Sft | Dpo) -> Callable[[bytes], _Conversation | _Preference]:
    match method:
        case Dpo():
            preferences = msgspec.json.Decoder(Preference)
            return lambda line: _preference(preferences.decode(line))
        case Sft():
            completions = msgspec.json.Decoder(Completion)
            earlier = None if method.train_on == "all" else 0
            return lambda line: _conversation(completions.decode(line), earlier)


def _conversation(record: Completion, earlier: int | None) -> _Conversation:
    """Together learns every answer of a conversation; ours learn the last one, so that earlier ones weigh nothing."""
    prompt = [_Turn(turn.role, turn.content, earlier if turn.role == "assistant" else None) for turn in record.prompt]
    return _Conversation([*prompt, *(_Turn(turn.role, turn.content) for turn in record.completion)])


def _preference(record: Preference) -> _Preference:
    return _Preference(_Input(record.prompt), record.chosen, record.rejected)
