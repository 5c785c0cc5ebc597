"""Base models on this machine: prepared once by the trainer in a process of its own, found again without it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ftorch.core.errors import ProviderProtocolError, RunRejectedError
from ftorch.manifest.schema import BaseModelRef

_NOT_TO_BE_HAD = 66
_SHOWN = 2000


def prepare_base(base: BaseModelRef, cache: Path, env: Mapping[str, str]) -> str:
    """The folder that holds the base model, made or downloaded when it is not there.

    Raises RunRejectedError with the trainer's words when the model cannot be had. Twice at once: the second waits.
    """
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ftorch.trainer", "prepare", base.id, "--cache", str(cache)]
    if base.revision:
        command += ["--revision", base.revision]
    done = subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return str(json.loads(done.stdout.splitlines()[-1])["path"])
    words = done.stderr.strip()[-_SHOWN:] or f"exit code {done.returncode}"
    if done.returncode == _NOT_TO_BE_HAD:
        raise RunRejectedError(
            f"base model {base.id!r} cannot be had here: {words}", provider="local", operation="stage"
        )
    raise ProviderProtocolError(
        f"preparing base model {base.id!r} failed", provider="local", operation="stage", body=words
    )
