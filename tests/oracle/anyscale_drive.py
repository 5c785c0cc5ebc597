"""Anyscale's own SDK at work. Run by its own Python, which has nothing of ours: `anyscale_drive.py FOLDER VERB`.

What it saw is printed as JSON. The address and the token are in the environment, as its users have them.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import anyscale  # type: ignore[import-not-found]  # in a virtual environment of its own
import anyscale.job as jobs  # type: ignore[import-not-found]
from anyscale.compute_config.models import (  # type: ignore[import-not-found]
    ComputeConfig,
    HeadNodeConfig,
    WorkerNodeGroupConfig,
)
from anyscale.job.models import JobConfig  # type: ignore[import-not-found]

_ENDS = ("SUCCEEDED", "FAILED", "TERMINATED")


def order(folder: Path, **changes: Any) -> JobConfig:
    """One machine with a T4, and nothing else."""
    asked = json.loads((folder / "order.json").read_text())
    machine = ComputeConfig(
        cloud="hosted", head_node=HeadNodeConfig(required_resources=asked["machine"]), worker_nodes=[]
    )
    values = {
        "name": asked["name"],
        "entrypoint": asked["entrypoint"],
        "working_dir": str(folder / "package"),
        "compute_config": machine,
        "requirements": asked["requirements"],
        "env_vars": asked["env_vars"],
        "tags": asked["tags"],
        "max_retries": 0,
        "timeout_s": asked["timeout_s"],
    }
    return JobConfig(**{**values, **changes})


def move(folder: Path, seconds: float) -> None:
    url = f"{anyscale.shared_anyscale_utils.conf.ANYSCALE_HOST}/_emulator/clock"
    body = json.dumps({"advance_s": seconds}).encode()
    urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST")).close()


def ended(job_id: str) -> str:
    while (state := str(jobs.status(id=job_id).state)) not in _ENDS:
        time.sleep(0.2)
    return state


def whole(folder: Path) -> object:
    """Submit, follow, read the log, list by tag, and end another one."""
    first = jobs.submit(order(folder))
    waiting = str(jobs.status(id=first).state)
    move(folder, 10)
    state = ended(first)
    log = jobs.get_logs(id=first)
    listed = [found.id for found in jobs.list(tags_filter={"ftorch_job": [order(folder).name]}, max_items=5)]
    second = jobs.submit(order(folder))
    jobs.terminate(id=second)
    move(folder, 10)
    return {
        "states": [waiting, state, ended(second)],
        "ids": [first, second],
        "log": log,
        "listed": listed,
    }


def workers(folder: Path) -> object:
    """Two machines beside a head that does no work."""
    asked = json.loads((folder / "order.json").read_text())
    group = WorkerNodeGroupConfig(name="workers", required_resources=asked["machine"], min_nodes=2, max_nodes=2)
    return jobs.submit(order(folder, compute_config=ComputeConfig(cloud="hosted", worker_nodes=[group])))


def image(folder: Path) -> object:
    """An image of one's own, in a cloud and a project that are named."""
    asked = {"image_uri": "docker.io/tiny/train:1", "cloud": "hosted", "project": "default", "requirements": None}
    return jobs.submit(order(folder, **asked))


def plain(folder: Path) -> object:
    """In the cloud and on the machines that one gets who names none."""
    return jobs.submit(order(folder, compute_config=None))


def careless(folder: Path) -> object:
    """As most people submit: without a word about retries."""
    job_id = jobs.submit(order(folder, max_retries=None))
    move(folder, 10)
    return ended(job_id)


def lost(folder: Path) -> object:
    """The answer to a create does not come."""
    try:
        return jobs.submit(order(folder))
    except Exception as error:  # noqa: BLE001  whatever its users get to see
        return f"{type(error).__name__}: {error}"


def stumbling(folder: Path) -> object:
    """The service answers a question with 500."""
    try:
        return str(jobs.status(id="prodjob_that_runs"))
    except Exception as error:  # noqa: BLE001  whatever its users get to see
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    seen = globals()[sys.argv[2]](Path(sys.argv[1]))
    sys.stdout.write(f"\nSEEN {json.dumps(seen)}\n")
