"""In the place of a package's `ftorch/trainer/__main__.py`, which then is `genuine.py` beside it.

Base models of the Hub are a tiny one here. `instant` trains nothing: `instant.py` keeps the protocol in a moment.
"""

import os
import runpy
import sys
from pathlib import Path

HOME_VARIABLE, TRAINING_VARIABLE, SETTINGS_VARIABLE = "FTORCH_INSIDE", "FTORCH_TRAINING", "FTORCH_INSTANT"


def main() -> None:
    inside, training = Path(os.environ[HOME_VARIABLE]), os.environ[TRAINING_VARIABLE]
    match sys.argv[1:]:
        case ["prepare", base, "--cache", cache, *_]:
            become(inside, "prepare.py", training, base, cache)
        case ["train", job, "--out", out] if training == "instant":
            become(inside, "instant.py", job, out, os.environ.get(SETTINGS_VARIABLE, ""))
        case _:
            runpy.run_module("ftorch.trainer.genuine", run_name="__main__", alter_sys=True)


def become(inside: Path, script: str, *words: str) -> None:
    """Go on as another script, with all of ftorch and not what the package has of it."""
    env = {**os.environ, "PYTHONPATH": str(inside.parents[3])}
    os.chdir("/")
    os.execve(sys.executable, [sys.executable, str(inside / script), *words], env)  # noqa: S606  our own Python


if __name__ == "__main__":
    main()
