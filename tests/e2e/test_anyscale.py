"""Anyscale end to end: the installed command, an emulator that runs what was sent, a trainer that takes a moment."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from e2e.anyscale_shell import AnyscaleShell, anyscale_shell
from e2e.shell import until
from ftorch.core.money import Money


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AnyscaleShell]:
    with anyscale_shell(tmp_path) as made:
        yield made


def test_a_job_comes_home_with_its_log_and_costs_what_the_bill_says(world: AnyscaleShell) -> None:
    done = world.shell.run("submit", "job.yaml", "--wait", "--yes")

    assert done.returncode == 0, done.stderr
    assert world.job["state"] == "succeeded"
    assert world.shell.json("adapters", "verify", world.job["id"])["valid"]
    assert world.emulator.service.creates.total() == 1
    assert world.the_job.order.config.max_retries == 0
    assert "FTORCH_EVENT" in world.shell.run("logs", world.job["id"]).stdout
    assert 0 < world.spent() < 1

    world.emulator.service.posting.lag_s = 0
    pulled = world.shell.run("bill", "pull", "anyscale")

    assert pulled.returncode == 0, pulled.stderr
    [line] = [entry for entry in world.shell.json("ledger") if entry["amount"]["source"] == "billing_api"]
    assert line["run"] == world.job["runs"][0]["key"]
    truth = world.emulator.service.truth(world.the_job)
    assert Decimal(line["amount"]["amount"]) == Money.from_micro(Money(truth).micro).amount


def test_without_a_bucket_nothing_is_sent_and_the_key_is_named(world: AnyscaleShell) -> None:
    manifest = world.shell.folder / "job.yaml"
    manifest.write_text(manifest.read_text().replace(f", anyscale: {{output_uri: {world.bucket.as_uri()}}}", ""))

    done = world.shell.run("submit", "job.yaml", "--yes")

    assert done.returncode == 6
    assert "provider.anyscale.output_uri is missing" in done.stderr
    assert world.emulator.requests.total() == 0


def test_a_cancelled_job_is_terminated_and_its_end_is_waited_for(world: AnyscaleShell) -> None:
    world.emulator.service.queue_delay_s = 3600
    world.shell.run("submit", "job.yaml", "--yes")
    until(lambda: world.emulator.service.creates)

    assert world.shell.run("cancel", "colours").returncode == 0
    cancelled = world.shell.run("wait", "colours")

    assert cancelled.returncode == 8, cancelled.stderr
    assert world.the_job.state == "TERMINATED"
    assert world.spent() == 0
