"""The way from a run's folder to the trainer, where it goes wrong: the folder tells it in the trainer's words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftorch.providers import output
from ftorch.providers.base import RunState
from ftorch.providers.ssh import runner

FAKE = """\
#!/bin/sh
case "$*" in
*prepare*) echo "the Hub knows no model" >&2; exit {code} ;;
*) exit 0 ;;
esac
"""


def run(folder: Path, code: int) -> int:
    """The runner, with a Python that has all packages and no base model."""
    box = folder / "runs" / "ft-1"
    box.mkdir(parents=True)
    fake = folder / "python3"
    fake.write_text(FAKE.format(code=code))
    fake.chmod(0o755)
    (box / "order.json").write_text(json.dumps({"python": str(fake)}))
    (box / "job.json").write_text(json.dumps({"base_model": {"id": "acme/no-such-model"}}))
    (box / "requirements.txt").touch()
    command = [sys.executable, runner.__file__, str(box)]
    return subprocess.run(command, env=dict(os.environ), capture_output=True, check=False).returncode


@pytest.mark.parametrize("code", [66, 70])
def test_a_base_model_that_cannot_be_had_is_told_as_a_failure(tmp_path: Path, code: int) -> None:
    assert run(tmp_path, code) == code

    events = (tmp_path / "runs/ft-1/out/events.jsonl").read_text()
    reading = output.parse(events, None, None)
    assert reading.started_at is not None
    seen = output.observation(reading, is_alive=False, is_cancelled=False, now=reading.started_at, was_started=True)
    assert (seen.state, seen.exit_code, seen.retry_event) == (RunState.FAILED, code, None)
    assert "preparing the base model acme/no-such-model failed: the Hub knows no model" in seen.detail
