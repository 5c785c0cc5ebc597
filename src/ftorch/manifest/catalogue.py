"""The catalogue of base models: sizes for estimates, each provider's own ids, and did-you-mean."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

from ftorch.core.errors import Fault, ManifestError
from ftorch.core.suggest import nearest

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", re.ASCII)
_HINT = "give a Hub id such as Qwen/Qwen3-8B, builtin:smollm2-135m, builtin:tiny, or a folder with config.json"


@dataclass(frozen=True, slots=True)
class Base:
    """One base model that ftorch knows."""

    id: str
    """The canonical id: what an adapter names."""
    parameters: int
    """All weights, those that rest included: it is what Together's prices go by."""
    context: int
    licence: str
    lora_targets: str
    """The layers that `all-linear` means in this model; for people."""
    gated: bool = False
    """Its licence must be accepted at the Hub, and HF_TOKEN set."""
    alias: str | None = None
    note: str = ""
    provider_ids: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Provider -> its own id, where it is known to have one."""


@cache
def bases() -> tuple[Base, ...]:
    """The whole catalogue."""
    text = (files("ftorch.manifest") / "bases.toml").read_text(encoding="utf-8")
    return tuple(Base(**entry) for entry in tomllib.loads(text)["base"])


def find_base(base_id: str) -> Base | None:
    """The catalogue's entry under an id, its alias, or a provider's own id."""
    return next((base for base in bases() if base_id in (base.id, base.alias, *base.provider_ids.values())), None)


def canonical_id(base_id: str) -> str:
    """The id that an adapter names: an alias, or a provider's own id, becomes the model that it stands for."""
    base = find_base(base_id)
    return base.id if base else base_id


def id_at(provider: str, base_id: str) -> str:
    """The provider's own id of a base model; the id as it is where the catalogue knows no other."""
    base = find_base(base_id)
    return base.provider_ids.get(provider, base.id) if base else base_id


def check_base(base_id: str, folder: Path, *, file: str = "", line: int | None = None) -> Base | None:
    """The catalogue's entry, or None for a model that it does not have.

    A folder (relative to the manifest's), a builtin or any `organisation/name` will do. Raises ManifestError for
    everything else, and for a catalogue's id in other letters (`Qwen/Qwen3-8b`).
    """
    if base := find_base(base_id):
        return base
    if _exists(folder / base_id / "config.json"):
        return None
    names = {name.lower(): name for base in bases() for name in (base.id, base.alias) if name}
    same = names.get(base_id.lower())
    if same is None and _HUB_ID.match(base_id):
        return None
    close = nearest(base_id, names)
    words = _words(base_id, same or (names[close] if close else None), folder)
    raise ManifestError([Fault(words, file or None, line, "base_model", hint=_HINT)])


def _words(base_id: str, meant: str | None, folder: Path) -> str:
    if meant is None and _exists(folder / base_id):
        return f"{base_id!r} holds no config.json, so it is no model"
    suggestion = f" (did you mean {meant!r}?)" if meant else ""
    return f"no base model is called {base_id!r}{suggestion}"


def _exists(path: Path) -> bool:
    """False also for a name that no file can have, such as one of 5,000 letters."""
    try:
        return path.exists()
    except OSError:
        return False
