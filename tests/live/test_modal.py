"""Modal for real: a job of a few minutes on its cheapest GPU. Costs some cents; run by hand with credentials set.

.venv/bin/pytest -m live tests/live/test_modal.py --allow-hosts=
"""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from e2e.modal_shell import example
from e2e.shell import Shell

pytestmark = [pytest.mark.live, pytest.mark.enable_socket]
_MOST = Decimal("0.50")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    names = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_ENVIRONMENT", "MODAL_CONFIG_PATH")
    return Shell(tmp_path, env={name: os.environ[name] for name in names if name in os.environ})


def test_the_smallest_job_comes_home_and_is_charged(shell: Shell) -> None:
    done = shell.run("submit", example(shell.folder, "modal-dpo.yaml"), "--wait", "--yes", longest_s=3600)

    assert done.returncode == 0, done.stderr
    [job] = shell.json("jobs")
    assert shell.json("adapters", "verify", job["id"])["valid"]
    assert 0 < Decimal(shell.json("spend")["total"]["amount"]) < _MOST
    assert "step" in shell.run("logs", job["id"]).stdout
