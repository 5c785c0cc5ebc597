"""Several workers under Ray Train: the trainer in each, one of them writes, and all begin again when one dies."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer

from ftorch.providers.ray_jobs.inside import room
from ftorch.providers.ray_jobs.inside.carrier import Carrier
from ftorch.providers.ray_jobs.inside.mirror import Mirror
from ftorch.providers.ray_jobs.inside.place import SetupError
from ftorch.providers.ray_jobs.inside.settings import Settings
from ftorch.providers.ray_jobs.inside.status import Status
from ftorch.providers.ray_jobs.inside.trainer import prepare
from ftorch.trainer import run, worker
from ftorch.trainer.device import World

NEW_STARTS = 3
"""So often all workers begin again after one has died."""
_SAID = 600
_PACKAGE = Path(__file__).parents[4]
"""Where our package was unpacked on this node."""
_START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


def train(settings: Settings, folder: Path, status: Status) -> int:
    """The exit code of the training. The driver itself takes no resources."""
    # Ray Train's own `print` would write what the libraries capture from theirs: pages of bytecode in the log.
    os.environ.update(RAY_TRAIN_ENABLE_PRINT_PATCH="0", RAY_COLOR_PREFIX="0")
    os.environ.setdefault(_START_TIMEOUT, str(room.TRY_S))
    ray.init()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) > 1 and settings.output_uri is None:
        raise SetupError(
            f"the cluster has {len(nodes)} nodes, and the workers may be on another than their driver: name a storage"
            " that all of them reach, `output_uri` beside the provider's name"
        )
    trainer = TorchTrainer(
        work,
        train_loop_config=_config(settings, folder),
        scaling_config=ScalingConfig(num_workers=settings.workers, use_gpu=settings.use_gpu),
        run_config=RunConfig(
            name=settings.key,
            storage_path=f"{settings.output_uri}/ray-train"
            if settings.output_uri
            else str(folder.parent / ".ray-train"),
            failure_config=FailureConfig(max_failures=NEW_STARTS, controller_failure_limit=room.TRIES - 1),
            worker_runtime_env={"env_vars": dict(run.ENVIRONMENT)},
        ),
    )
    words = "the workers ended without a word"
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        words = _why(error, settings)
    code = status.trainers_exit_code()
    return status.failed(words, 70, "workers") if code is None else code


def work(config: Mapping[str, Any]) -> None:
    """One worker. Called by Ray Train, again when any of them has died."""
    context = get_context()
    world = World(context.get_world_rank(), context.get_world_size(), context.get_local_world_size())
    folder = Path(config["folder"])
    spec = dict(config["spec"])
    base = spec["base_model"]
    spec["base_model"] = {**base, "path": prepare(base, folder.parent / ".bases", _PACKAGE)}
    order = worker.Order(json.dumps(spec).encode(), folder, folder, config["ends_at"])
    with _carrier(config) as carrier:
        worker.work(order, world, carrier)


def _carrier(config: Mapping[str, Any]) -> AbstractContextManager[worker.Carrier]:
    """Without a storage all workers are on one machine, or the run was refused."""
    if config["uri"] is None:
        return nullcontext(worker.OneMachine())
    return Carrier(Mirror(config["uri"]), Path(config["folder"]), config["key"], config["resume_from"])


def _config(settings: Settings, folder: Path) -> dict[str, Any]:
    spec = json.loads((folder / "job.json").read_text())
    limit = spec.get("max_duration_s")
    return {
        "key": settings.key,
        "spec": spec,
        "folder": str(folder),
        "uri": settings.output_uri,
        "ends_at": None if limit is None else time.time() + limit,
        "resume_from": settings.resume_from,
    }


def _why(error: Exception, settings: Settings) -> str:
    """What the driver says of a training that Ray Train gave up."""
    if type(getattr(error, "controller_failure", None)).__name__ == "WorkerGroupStartupTimeoutError":
        return room.none_found(settings, room.TRIES * float(os.environ[_START_TIMEOUT]), ray.cluster_resources())
    return f"the workers gave up: {' '.join(str(error).split())[-_SAID:]}"
