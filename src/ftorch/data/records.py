"""The one inner shape of a row: what every format becomes, and what is written for the trainer.

{"prompt": [{"role", "content"}, ...], "completion": [{"role": "assistant", "content"}]}
{"prompt": [{"role", "content"}, ...], "chosen": [{"role": "assistant", ...}], "rejected": [...]}
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import msgspec

# `gc=False`: millions of them are made, and none can be part of a cycle.


class Message(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class Completion(msgspec.Struct, frozen=True, gc=False):
    """A prompt and the one answer to learn."""

    prompt: Sequence[Message]
    completion: Sequence[Message]


class Preference(msgspec.Struct, frozen=True, gc=False):
    """A prompt with a better and a worse answer."""

    prompt: Sequence[Message]
    chosen: Sequence[Message]
    rejected: Sequence[Message]


Record = Completion | Preference


class Kind(StrEnum):
    """What a method learns from."""

    COMPLETION = "completion"
    PREFERENCE = "preference"


class Split(StrEnum):
    """Which part a row belongs to. Held-out rows never leave for training."""

    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held_out"


_encode = msgspec.json.Encoder().encode


def to_line(record: Record) -> bytes:
    """The row as it is written: the same record gives the same bytes, ending in a newline."""
    return _encode(record) + b"\n"


def answers(record: Record) -> tuple[str, ...]:
    """The text of the completion, or of the chosen and the rejected answer."""
    if isinstance(record, Completion):
        return (record.completion[0].content,)
    return (record.chosen[0].content, record.rejected[0].content)
