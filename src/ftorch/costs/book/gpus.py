"""GPU types: memory and speed, by the names that manifests use."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU type."""

    name: str
    memory_gb: Decimal
    tflops: Decimal
    """Dense half-precision peak: what nobody reaches."""
    source: str
    date: date


@cache
def gpus() -> dict[str, Gpu]:
    """All that we know, by name."""
    table = tomllib.loads((files("ftorch.costs.book") / "gpus.toml").read_text(encoding="utf-8"))
    return {
        name: Gpu(name, Decimal(row["memory_gb"]), Decimal(row["tflops"]), table["source"], table["date"])
        for name, row in table["gpu"].items()
    }


def find_gpu(name: str | None) -> Gpu | None:
    """The type of this name, in any letters; None for one that we do not know."""
    known = {key.lower(): gpu for key, gpu in gpus().items()}
    return known.get(name.lower()) if name else None


def is_asked(name: str | None, asked: Sequence[str]) -> bool:
    """A type that the manifest accepts. `A100` accepts every A100; an empty list accepts all."""
    wanted = [one.lower() for one in asked]
    named = (name or "").lower()
    return not wanted or any(named == one or named.startswith(f"{one}-") for one in wanted)
