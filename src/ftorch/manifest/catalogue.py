"""The catalogue of base models: sizes for estimates, and did-you-mean for ids."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ftorch.core.errors import Fault, ManifestError
from ftorch.core.suggest import nearest

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")


@dataclass(frozen=True, slots=True)
class Base:
    """One base model that ftorch knows."""

    id: str
    """The canonical id: what an adapter names."""
    parameters: int
    context: int
    licence: str
    gated: bool = False
    """Its licence must be accepted at the Hub, and HF_TOKEN set."""
    alias: str | None = None


@cache
def bases() -> tuple[Base, ...]:
    """The whole catalogue."""
    text = (files("ftorch.manifest") / "bases.toml").read_text()
    return tuple(Base(**entry) for entry in tomllib.loads(text)["base"])


def find_base(base_id: str) -> Base | None:
    """The catalogue's entry under an id or its alias."""
    return next((base for base in bases() if base_id in (base.id, base.alias)), None)


def canonical_id(base_id: str) -> str:
    """The id that an adapter names: an alias becomes the model that it stands for."""
    base = find_base(base_id)
    return base.id if base else base_id


def check_base(base_id: str, folder: Path, *, file: str = "", line: int | None = None) -> Base | None:
    """The catalogue's entry, or None for a model that it does not have.

    A folder (relative to the manifest's), a builtin or any `organisation/name` will do. Raises ManifestError for
    everything else, and for a catalogue's id in other letters (`Qwen/Qwen3-8b`).
    """
    if base := find_base(base_id):
        return base
    if (folder / base_id / "config.json").is_file():
        return None
    names = {name.lower(): name for base in bases() for name in (base.id, base.alias) if name}
    same = names.get(base_id.lower())
    if same is None and _HUB_ID.match(base_id):
        return None
    close = nearest(base_id, names)
    raise ManifestError([_unknown(base_id, same or (names[close] if close else None), file, line)])


def _unknown(base_id: str, meant: str | None, file: str, line: int | None) -> Fault:
    suggestion = f" (did you mean {meant!r}?)" if meant else ""
    return Fault(
        f"no base model is called {base_id!r}{suggestion}",
        file=file or None,
        line=line,
        key="base_model",
        hint="give a Hub id such as Qwen/Qwen3-8B, builtin:smollm2-135m, builtin:tiny, or a folder with config.json",
    )
