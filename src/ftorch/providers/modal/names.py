"""What is called how at Modal: Apps, the Volume and its folders, tags."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ftorch.core.ids import installation_of

VOLUME = "ftorch"
MOUNT = "/ftorch"
RUN_TAG = "ftorch_run"
MACHINE_TAG = "ftorch_machine"
_LONGEST = 63
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]+")


def app_name(key: str, labels: Mapping[str, str]) -> str:
    """One App per installation and label set: the App's tags are the labels, so that Modal's report shows them."""
    name = f"ftorch-{installation_of(key)}"
    if not labels:
        return name
    digest = hashlib.sha256(json.dumps(dict(labels), sort_keys=True).encode()).hexdigest()
    return f"{name}-{digest[:8]}"


def is_app_of(name: str, installation: str) -> bool:
    return name == f"ftorch-{installation}" or name.startswith(f"ftorch-{installation}-")


def tags(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels as Modal takes them: what it does not allow becomes a dash."""
    allowed = {_allowed(name): _allowed(value) for name, value in labels.items()}
    return {name: value for name, value in allowed.items() if name and value}


def _allowed(text: str) -> str:
    return _NOT_ALLOWED.sub("-", text)[:_LONGEST]


BUNDLES = "bundles"


def bundle_folder(sha256: str) -> str:
    return f"{BUNDLES}/{sha256}"


def code_folder(sha256: str) -> str:
    return f"code/{sha256}"


def run_folder(key: str) -> str:
    return f"runs/{key}"


def out_folder(key: str) -> str:
    return f"{run_folder(key)}/out"


STARTED, ENDED, CANCELLED = "started", "ended", "cancelled"
"""Folders of marks: what has happened to which sandbox, in the names of the files. One listing shows all runs."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A sandbox of a run, in an App."""

    key: str
    sandbox_id: str
    app: str

    @property
    def name(self) -> str:
        return f"{self.key}.{self.sandbox_id}.{self.app}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """None for a file that is no mark."""
        parts = name.rpartition("/")[2].split(".")
        if len(parts) != len(("key", "sandbox", "app")) or installation_of(parts[0]) is None:
            return None
        return cls(*parts)
