"""The trainer as a process of this node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftorch.providers.ray_jobs.inside.place import SetupError
from ftorch.providers.ray_jobs.inside.status import say

_SAID = 600


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "ftorch.trainer", *words]


def environment(package: Path) -> dict[str, str]:
    """Ours, with the trainer of the package."""
    path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def prepare(base: Mapping[str, Any], cache: Path, package: Path) -> str:
    """Where a base model lies on this node, made or fetched when it is not there. At the same time: one waits.

    In a process of its own: among several workers the libraries would write a model in the first of them only.
    """
    words = ["prepare", base["id"], "--cache", str(cache)]
    words += ["--revision", base["revision"]] if base.get("revision") else []
    say(f"preparing the base model {base['id']} ...")
    done = subprocess.run(command(*words), env=environment(package), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip()[-_SAID:] or "it said nothing"
        raise SetupError(f"preparing the base model {base['id']} failed: {said}", done.returncode)
    return str(json.loads(done.stdout.splitlines()[-1])["path"])
