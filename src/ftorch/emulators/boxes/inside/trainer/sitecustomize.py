"""Lets `python -m ftorch.trainer train JOB --out OUT` be the stand-in beside this folder, in this very process."""

import runpy
import sys
from pathlib import Path


def _asked() -> list[str]:
    """JOB and OUT, where this Python was started to train."""
    match sys.orig_argv[1:]:
        case [*_, "-m", "ftorch.trainer", "train", job, "--out", out]:
            return [job, out]
        case _:
            return []


if _asked():
    sys.argv = ["instant.py", *_asked(), str(Path(_asked()[0]).parent / "instant.json")]
    runpy.run_path(str(Path(__file__).parents[1] / "instant.py"), run_name="__main__")
