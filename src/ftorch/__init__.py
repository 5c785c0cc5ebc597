"""ftorch: one manifest, any managed compute, one true ledger.

Nothing heavy is imported until it is asked for: `import ftorch` costs what an empty module costs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftorch.client import Client
    from ftorch.core.errors import FtorchError
    from ftorch.manifest.schema import Manifest

__version__ = "0.1.0"

__all__ = ["Client", "FtorchError", "Manifest", "__version__"]

_HOMES = {"Client": "ftorch.client", "FtorchError": "ftorch.core.errors", "Manifest": "ftorch.manifest.schema"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ftorch' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
