"""Refusals before anything is sent."""

from __future__ import annotations

from ftorch.core.errors import RunRejectedError


def refused(words: str, hint: str, operation: str = "stage") -> RunRejectedError:
    """What cannot be ordered, and what to change."""
    return RunRejectedError(words, provider="anyscale", operation=operation, hint=hint)
