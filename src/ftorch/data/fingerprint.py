"""Two rows are the same to us when their prompts are the same to a reader: the hash that splits and locks are made of.

The prompt counts as the file has it, without its system message and before `dataset.prompt` is applied: changing a
template or the list of labels moves no row.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Sequence
from hashlib import blake2b

from ftorch.data.records import Message, Record, answers

# After the ASCII marks: ellipsis, curly and angle quotes, Spanish and Chinese marks.
_ENDS = " .,:;!?\"'`\u2026\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb\u00bf\u00a1\u3002\u3001"
_ENDS_ASCII = b" .,:;!?\"'`"
_ASCII = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f", b"abcdefghijklmnopqrstuvwxyz" + b" " * 9
)
"""What casefold and str.split do to ASCII, in one step: nine in ten texts need no more."""


def normalise(text: str) -> bytes:
    """NFKC, casefold, whitespace collapsed, sentence marks and quotes at the ends taken off, as UTF-8.

    A text of nothing but marks keeps them.
    """
    if text.isascii():
        plain = text.encode().translate(_ASCII)
        if b"  " in plain:
            plain = b" ".join(plain.split())
        return plain.strip(_ENDS_ASCII) or plain.strip()
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return (folded.strip(_ENDS) or folded).encode()


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
