"""Modal in a box: its gRPC service and its block storage on 127.0.0.1, sandboxes as processes, volumes as folders."""

from __future__ import annotations

from ftorch.emulators.modal.emulator import (
    OTHER_TOKEN_ID,
    OTHER_TOKEN_SECRET,
    TOKEN_ID,
    TOKEN_SECRET,
    WORKSPACE,
    ModalEmulator,
)
from ftorch.emulators.modal.sandboxes import Sandbox
from ftorch.emulators.modal.service import Service
from ftorch.emulators.modal.work import Container, Work

__all__ = [
    "OTHER_TOKEN_ID",
    "OTHER_TOKEN_SECRET",
    "TOKEN_ID",
    "TOKEN_SECRET",
    "WORKSPACE",
    "Container",
    "ModalEmulator",
    "Sandbox",
    "Service",
    "Work",
]
