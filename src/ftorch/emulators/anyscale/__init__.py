"""Anyscale in a box: `AnyscaleEmulator`, what it keeps (`service`), and its own bill."""

from ftorch.emulators.anyscale.accounts import (
    COLLEAGUE_TOKEN,
    ORGANISATION,
    OTHER_ORGANISATION,
    OTHER_TOKEN,
    TOKEN,
)
from ftorch.emulators.anyscale.emulator import AnyscaleEmulator
from ftorch.emulators.anyscale.service import Service

__all__ = [
    "COLLEAGUE_TOKEN",
    "ORGANISATION",
    "OTHER_ORGANISATION",
    "OTHER_TOKEN",
    "TOKEN",
    "AnyscaleEmulator",
    "Service",
]
