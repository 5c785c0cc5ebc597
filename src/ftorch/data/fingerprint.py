"""Two rows are the same to us when their prompts are the same to a reader: the hash that splits and locks are made of.

The prompt counts as the file has it, without its system message and before `dataset.prompt` is applied: changing a
template or the list of labels moves no row.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from hashlib import blake2b

from ftorch.core.normalise import normalise
from ftorch.data.records import Message, Record, answers


def fingerprint(prompt: Sequence[Message]) -> int:
    """64 bits that stand for a prompt. In a lock they are 16 hex digits."""
    said = [message for message in prompt if message.role != "system"]
    if len(said) == 1:
        seen = normalise(said[0].content)
    else:
        seen = b"\x1e".join(message.role.encode() + b"\x1f" + normalise(message.content) for message in said)
    return int.from_bytes(blake2b(seen, digest_size=8).digest(), "big")


def answer_print(record: Record) -> int:
    """32 bits that stand for the answers: enough, since only rows with the same prompt are compared."""
    return zlib.crc32(b"\x1e".join(map(normalise, answers(record))))


def to_hex(value: int) -> str:
    return f"{value:016x}"
