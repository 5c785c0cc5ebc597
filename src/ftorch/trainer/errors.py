"""What the trainer fails with, and the exit code that tells it.

TrainerError        70   a crash, when nothing narrower fits
  OutOfMemoryError  70   `failed.type` is OutOfMemory
  DivergedError     70   the loss is no number any more
  SpecError         64   job.json is wrong, or asks for what this machine cannot do
  DataError         65   a data file is missing, changed, or has a bad row
  BaseModelError    66   the base model cannot be had
  LockedError       73   another process works in the output folder
  InterruptedRun    75   not a failure: told to stop, and resumable
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the process returns; sysexits.h where it has a word for it."""

    DONE = 0
    BAD_SPEC = 64
    BAD_DATA = 65
    NO_BASE_MODEL = 66
    CRASH = 70
    LOCKED = 73
    INTERRUPTED = 75


class TrainerError(Exception):
    """The base class of all errors that the trainer raises on purpose."""

    exit_code: ClassVar[ExitCode] = ExitCode.CRASH
    kind: ClassVar[str] = "TrainerError"
    """The word in the `failed` event."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class OutOfMemoryError(TrainerError):
    """The device or the machine has too little memory for the job."""

    kind = "OutOfMemory"


class DivergedError(TrainerError):
    """The loss is infinite or no number: further steps cost money and change nothing."""

    kind = "Diverged"


class SpecError(TrainerError):
    """The spec cannot be read, or asks for what cannot be done here."""

    exit_code = ExitCode.BAD_SPEC
    kind = "SpecError"


class DataError(TrainerError):
    """A data file is missing, is not the one that was ordered, or has a bad row."""

    exit_code = ExitCode.BAD_DATA
    kind = "DataError"


class BaseModelError(TrainerError):
    """The base model is unknown, incomplete or out of reach."""

    exit_code = ExitCode.NO_BASE_MODEL
    kind = "BaseModelError"


class LockedError(TrainerError):
    """Another process works in the output folder."""

    exit_code = ExitCode.LOCKED
    kind = "LockedError"


class InterruptedRun(Exception):  # noqa: N818  being told to stop is no error
    """Training stopped after a checkpoint because it was told to."""

    def __init__(self, reason: str, step: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing."""
    found = difflib.get_close_matches(word.lower(), list(choices), n=1, cutoff=0.7)
    return f" (did you mean {found[0]!r}?)" if found else ""
