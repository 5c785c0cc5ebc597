"""Together's fine-tuning API in a box: `TogetherEmulator`, what it keeps (`service`), and its own bill."""

from ftorch.emulators.together.accounts import COLLEAGUE_KEY, KEY, ORGANISATION, OTHER_KEY, OTHER_ORGANISATION
from ftorch.emulators.together.emulator import TogetherEmulator
from ftorch.emulators.together.service import Service

__all__ = [
    "COLLEAGUE_KEY",
    "KEY",
    "ORGANISATION",
    "OTHER_KEY",
    "OTHER_ORGANISATION",
    "Service",
    "TogetherEmulator",
]
