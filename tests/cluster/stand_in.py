"""A package whose trainer is a stand-in that keeps the protocol and learns nothing: a job takes a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.emulators.boxes.inside import instant
from ftorch.providers.ray_jobs import package as packing

_SRC = Path(instant.__file__).parents[4]


def trainer(settings: Path | str = "") -> str:
    """The source of `ftorch.trainer.__main__`. `settings` is the stand-in's file; see `instant.py`."""
    return f"""\
import json, os, sys
verb, *words = sys.argv[1:]
if verb == "prepare":
    if os.environ.get("NO_BASE"):
        sys.exit("the Hub cannot be reached")
    print(json.dumps({{"path": f"/bases/{{words[0]}}"}}))
else:
    job, _, out = words
    os.environ["PYTHONPATH"] = {str(_SRC)!r}
    settings = os.environ.get("INSTANT") or {str(settings)!r}
    os.execv(sys.executable, [sys.executable, {instant.__file__!r}, job, out, settings])
"""


def put_in(monkeypatch: pytest.MonkeyPatch, settings: Path) -> None:
    """Let packages that are made from now on have it."""
    code = {**packing._code(), "ftorch/trainer/__main__.py": trainer(settings).encode()}
    monkeypatch.setattr(packing, "_code", lambda: code)
