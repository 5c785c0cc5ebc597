"""Which process the daemon is. Nothing that is written down is believed: the kernel says who holds the sign's lock.

A process id in a file outlives its process, and is another's one day; a signal would then end a stranger. Windows
cannot ask for a lock's holder: there the file is believed while somebody leads.
"""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from typing import TextIO

from ftorch.core.paths import Home
from ftorch.jobs.leader import is_led

if sys.platform != "win32":
    import fcntl

_STAYS, _LEAVES = "stays", "leaves when idle"
# struct flock as fcntl(2) has it, and where its type and its process id are in it.
_FLOCK, _TYPE, _PID = ("hhqqi", 0, 4) if sys.platform == "linux" else ("qqihh", 3, 2)


@dataclass(frozen=True, slots=True)
class AtWork:
    """The daemon that leads."""

    pid: int
    stays: bool
    """It leaves only when it is told to."""


class Sign:
    """What the daemon that leads shows: `daemon.pid`, under a lock of its own. Hang it out while leading only."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._file: TextIO | None = None

    def show(self, *, stays: bool) -> None:
        """Say who we are. One that stays has thereby done what `daemon start` asks of it.

        What lies there when we begin was asked of another daemon, by a command that was killed: one that lives asks
        again.
        """
        is_done = stays or self._file is None
        if self._file is None:
            self._file = self._home.daemon_pid.open("a+")
            if sys.platform != "win32":
                # A lock of the process, unlike the leader's: opening and closing the file once more would drop it.
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n{_STAYS if stays else _LEAVES}\n")
        self._file.flush()
        if is_done:
            self._home.daemon_stay.unlink(missing_ok=True)

    def take_down(self) -> None:
        """We lead no more. Twice is harmless."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def at_work(home: Home) -> AtWork | None:
    """The daemon that leads this installation; None also while one is about to begin, or another command leads."""
    try:
        with home.daemon_pid.open() as file:
            holder = _holder(file)
            words = file.read().splitlines()
    except FileNotFoundError:
        return None
    if sys.platform == "win32" and words and is_led(home):
        holder = int(words[0])
    return AtWork(holder, stays=words == [str(holder), _STAYS]) if holder else None


def _holder(file: TextIO) -> int | None:
    """The process that has the file locked, as the kernel has it; None where nobody has, or one we cannot see."""
    if sys.platform == "win32":
        return None
    fields = [0, 0, 0, 0, 0]
    fields[_TYPE] = fcntl.F_WRLCK
    found = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_FLOCK, *fields)))
    return found[_PID] or None if found[_TYPE] != fcntl.F_UNLCK else None
