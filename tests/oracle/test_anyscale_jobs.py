"""The examples for Anyscale, whole: the installed command, an emulator that runs what was sent, a trainer that trains.

The models are tiny; what comes home is what PEFT and transformers make of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.jobs import speaks
from e2e.anyscale_shell import AnyscaleShell, anyscale_shell
from e2e.shell import until

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AnyscaleShell]:
    with anyscale_shell(tmp_path, genuine=True) as made:
        yield made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny model is that stood for what was ordered."""
    cache = tmp_path_factory.mktemp("bases")
    command = [sys.executable, "-m", "ftorch.trainer", "prepare", "builtin:tiny", "--cache", str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(json.loads(done.stdout.splitlines()[-1])["path"])


@pytest.mark.parametrize("manifest", ["anyscale-sft.yaml", "anyscale-dpo.yaml"])
def test_an_example_brings_an_adapter_home_that_generates(world: AnyscaleShell, base: Path, manifest: str) -> None:
    done = world.shell.run("submit", world.example(manifest), "--wait", "--yes")

    assert done.returncode == 0, done.stderr
    assert world.job["state"] == "succeeded"
    assert world.shell.json("adapters", "verify", world.job["id"])["valid"]
    assert world.emulator.service.creates.total() == 1
    assert speaks(base, world.job["adapter"])


def test_the_adapter_is_byte_for_byte_that_of_this_machine(world: AnyscaleShell, tmp_path: Path) -> None:
    there = world.shell.run("submit", "job.yaml", "--wait", "--yes")
    manifest = world.shell.folder / "job.yaml"
    chosen = f"{{name: anyscale, anyscale: {{output_uri: {world.bucket.as_uri()}}}}}\nresources: {{gpu: T4}}"
    manifest.write_text(manifest.read_text().replace(chosen, "{name: local}").replace("colours", "colours-here"))
    here = world.shell.run("submit", "job.yaml", "--wait", "--yes")

    assert (there.returncode, here.returncode) == (0, 0), there.stderr + here.stderr
    jobs = world.shell.json("jobs")
    weights = {Path(job["adapter"], "adapter_model.safetensors").read_bytes() for job in jobs}
    assert {job["provider"] for job in jobs} == {"anyscale", "local"}
    assert len(weights) == 1


def test_a_machine_that_is_taken_away_costs_a_few_steps(world: AnyscaleShell) -> None:
    manifest = world.shell.folder / "job.yaml"
    text = (
        manifest.read_text().replace("epochs: 4", "epochs: 40").replace("save_every_steps: 5", "save_every_steps: 20")
    )
    manifest.write_text(text)
    world.shell.run("submit", "job.yaml", "--yes")
    until(lambda: list(world.bucket.glob("*/checkpoints/*/.complete")), within_s=240)
    with world.emulator.service.lock:
        world.emulator.service.lose(world.the_job)

    done = world.shell.run("wait", "colours")

    assert done.returncode == 0, done.stderr
    first, second = (world.emulator.service.newest(name) for name in world.emulator.service.creates)
    assert (first.state, second.state) == ("OUT_OF_RETRIES", "SUCCESS")
    events = (world.bucket / second.order.name / "events.jsonl").read_text()
    assert '"event":"resume"' in events
