"""A run's folder as it can be read from here, wherever it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class RunFiles(Protocol):
    """The files of one run."""

    def read(self, name: str) -> bytes | None:
        """A small file, whole; None when it is not there. Raises ProviderUnavailableError when nobody can tell."""
        ...

    def download(self, name: str, part: Path) -> None:
        """Bring a file to `part`, going on where it ends where that can be done. Raises RunNotFoundError."""
        ...
