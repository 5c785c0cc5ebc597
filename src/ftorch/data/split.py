"""Which split a row belongs to. The row's content decides alone: adding rows never moves an old one."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from ftorch.data.records import Split
from ftorch.manifest.schema import HeldOutFraction

_SPLITS = tuple(Split)
_ALL = 1 << 64


class Draw:
    """Takes a fraction of all prompts, by hash. The split's name keeps two draws of one seed independent."""

    def __init__(self, asked: HeldOutFraction, split: Split) -> None:
        self._limit = int(asked.fraction * _ALL)
        self._key = f"{split}:{asked.seed}".encode()

    def takes(self, fingerprint: int) -> bool:
        digest = blake2b(fingerprint.to_bytes(8, "big"), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") < self._limit


@dataclass(frozen=True, slots=True)
class Splitter:
    """Held-out is drawn first; validation is a fraction of what is left."""

    held_out: Draw | None
    validation: Draw | None

    def split(self, fingerprint: int) -> Split:
        if self.held_out and self.held_out.takes(fingerprint):
            return Split.HELD_OUT
        if self.validation and self.validation.takes(fingerprint):
            return Split.VALIDATION
        return Split.TRAIN


_CODES = {split: code for code, split in enumerate(_SPLITS)}


class Splits:
    """The split of every row of a file, in a byte each."""

    def __init__(self) -> None:
        self._codes = bytearray()

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, index: int) -> Split:
        return _SPLITS[self._codes[index]]

    def append(self, split: Split) -> None:
        self._codes.append(_CODES[split])

    def count(self, split: Split) -> int:
        return self._codes.count(_CODES[split])
