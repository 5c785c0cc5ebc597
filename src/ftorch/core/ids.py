"""Identifiers: ULIDs in lower case, the installation's mark, and the key that makes a run findable.

A run key is `ft-<installation>-<ulid>`: 36 characters, so that the strictest name field we write it to (40 characters)
holds it, made of `[a-z0-9-]` only, and sortable by time.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from datetime import datetime

from ftorch.core.clock import from_micros, to_micros

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, as the ULID specification has it
_RUN_KEY = re.compile(r"^ft-(?P<installation>[0-9a-z]{6})-(?P<ulid>[0-9a-z]{26})$")

_MARK = re.compile(r"\bft-(?P<installation>[0-9a-z]{6})-")


def _encode(number: int, length: int) -> str:
    return "".join(_ALPHABET[(number >> 5 * place) & 31] for place in reversed(range(length)))


def _random_bits(count: int) -> int:
    """From the system's own source, as `secrets` has them, whose import costs every command line 4 ms."""
    return int.from_bytes(os.urandom(-(-count // 8))) >> -count % 8


class Ids:
    """Makes ULIDs that grow strictly within one process, also inside one millisecond. Thread-safe."""

    def __init__(self, random_bits: Callable[[int], int] = _random_bits) -> None:
        self._random_bits = random_bits
        self._lock = threading.Lock()
        self._last = 0

    def ulid(self, now: datetime) -> str:
        """26 characters: 48 bits of milliseconds, 80 bits of chance."""
        with self._lock:
            drawn = (to_micros(now) // 1000) << 80 | self._random_bits(80)
            self._last = max(drawn, self._last + 1)
            return _encode(self._last, 26)

    def installation(self) -> str:
        """The six characters that mark everything this installation makes."""
        return _encode(self._random_bits(30), 6)


def run_key(installation: str, ulid: str) -> str:
    return f"ft-{installation}-{ulid}"


def installation_of(key: str) -> str | None:
    """The installation that made a key; None when it is not one of ours at all."""
    found = _RUN_KEY.match(key)
    return found["installation"] if found else None


def mark_in(name: str) -> str | None:
    """The installation whose mark stands in a name, wherever in it; None: nobody's."""
    found = _MARK.search(name)
    return found["installation"] if found else None


def made_at(key: str) -> datetime | None:
    """When a run key was made: its ULID begins with the milliseconds since 1970. None for anything else."""
    found = _RUN_KEY.match(key)
    if found is None or set(found["ulid"]) - set(_ALPHABET):
        return None
    milliseconds = 0
    for letter in found["ulid"][:10]:
        milliseconds = milliseconds * 32 + _ALPHABET.index(letter)
    return from_micros(milliseconds * 1000) if milliseconds < 1 << 48 else None
