"""ftorch: one manifest, any managed compute, one true ledger."""

from __future__ import annotations

__version__ = "0.1.0"
