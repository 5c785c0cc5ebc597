"""Anyscale for real: a job of a few minutes on its cheapest GPU. Costs some cents; run by hand with credentials set.

    FTORCH_LIVE_ANYSCALE_OUTPUT=s3://BUCKET/PREFIX .venv/bin/pytest -m live tests/live/test_anyscale.py --allow-hosts=

The bucket must be one that the cluster writes and this machine reads.
"""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from e2e.shell import Shell, example

pytestmark = [pytest.mark.live, pytest.mark.enable_socket]
_OUTPUT = "FTORCH_LIVE_ANYSCALE_OUTPUT"
_BUCKET = "s3://my-bucket/ftorch"
_NAMES = ("ANYSCALE_CLI_TOKEN", "ANYSCALE_HOST", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_MOST = Decimal("1.00")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, env={name: os.environ[name] for name in _NAMES if name in os.environ})


@pytest.mark.parametrize("name", ["anyscale-dpo.yaml", "anyscale-workers.yaml"])
def test_a_small_job_comes_home_and_is_charged(shell: Shell, name: str) -> None:
    manifest = shell.folder / example(shell.folder, name)
    manifest.write_text(manifest.read_text().replace(_BUCKET, os.environ[_OUTPUT]))

    done = shell.run("submit", name, "--wait", "--yes", longest_s=5400)

    assert done.returncode == 0, done.stderr
    [job] = shell.json("jobs")
    assert shell.json("adapters", "verify", job["id"])["valid"]
    assert 0 < Decimal(shell.json("spend")["total"]["amount"]) < _MOST
    assert "FTORCH_EVENT" in shell.run("logs", job["id"]).stdout


def test_the_bill_can_be_read(shell: Shell) -> None:
    pulled = shell.run("bill", "pull", "anyscale")

    assert pulled.returncode == 0, pulled.stderr
