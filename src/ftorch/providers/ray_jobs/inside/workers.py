"""Several workers under Ray Train: the trainer in each, one of them writes, and all begin again when one dies."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer

from ftorch.providers.ray_jobs.inside.mirror import Mirror
from ftorch.providers.ray_jobs.inside.place import SetupError
from ftorch.providers.ray_jobs.inside.settings import Settings
from ftorch.providers.ray_jobs.inside.status import COPY_S, Status, say
from ftorch.providers.ray_jobs.inside.trainer import prepare
from ftorch.trainer import run, worker
from ftorch.trainer.device import World

NEW_STARTS = 3
"""So often all workers begin again after one has died."""
_SAID = 600
_PACKAGE = Path(__file__).parents[4]
"""Where our package was unpacked on this node."""


def train(settings: Settings, folder: Path, status: Status) -> int:
    """The exit code of the training. The driver itself takes no resources."""
    # Ray Train's own `print` would write what the libraries capture from theirs: pages of bytecode in the log.
    os.environ.update(RAY_TRAIN_ENABLE_PRINT_PATCH="0", RAY_COLOR_PREFIX="0")
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
            failure_config=FailureConfig(max_failures=NEW_STARTS),
            worker_runtime_env={"env_vars": dict(run.ENVIRONMENT)},
        ),
    )
    words = "the workers ended without a word"
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        said = " ".join(str(error).split())[-_SAID:]
        words = f"the workers gave up after {NEW_STARTS} new starts: {said}"
    code = _told(status)
    return status.failed(words, 70, "workers") if code is None else code


def work(config: Mapping[str, Any]) -> None:
    """One worker. Called by Ray Train, again when any of them has died."""
    context = get_context()
    world = World(context.get_world_rank(), context.get_world_size(), context.get_local_world_size())
    folder, key, uri = Path(config["folder"]), config["key"], config["uri"]
    spec = dict(config["spec"])
    base = spec["base_model"]
    spec["base_model"] = {**base, "path": prepare(base, folder.parent / ".bases", _PACKAGE)}
    order = worker.Order(json.dumps(spec).encode(), folder, folder, config["ends_at"])

    def bring(_step: int) -> None:
        if uri:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            Mirror(uri).bring_checkpoint(key, folder / "checkpoints")

    is_far = world.is_writer and ray.get_runtime_context().get_node_id() != config["driver_node"]
    with _Copying(folder, key, uri if is_far else None):
        worker.work(order, world, bring)


class _Copying:
    """The writer's folder, copied to the storage while the block lasts and at its end; on the driver's node the driver
    does it.
    """

    def __init__(self, folder: Path, key: str, uri: str | None) -> None:
        self._folder = folder
        self._key = key
        self._mirror = Mirror(uri) if uri else None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        if self._mirror:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._mirror:
            self._thread.join()
            self._mirror.push(self._folder, self._key)

    def _beat(self) -> None:
        assert self._mirror is not None
        while not self._over.wait(COPY_S):
            try:
                self._mirror.push(self._folder, self._key)
            except Exception as error:  # noqa: BLE001  storage of every kind: the next copy takes what this one left
                say(f"the copy of the run failed: {error}")


def _config(settings: Settings, folder: Path) -> dict[str, Any]:
    spec = json.loads((folder / "job.json").read_text())
    limit = spec.get("max_duration_s")
    return {
        "key": settings.key,
        "spec": spec,
        "folder": str(folder),
        "uri": settings.output_uri,
        "ends_at": None if limit is None else time.time() + limit,
        "driver_node": ray.get_runtime_context().get_node_id(),
    }


def _told(status: Status) -> int | None:
    """The exit code that the writer's last event stands for."""
    last = status.last_event()
    match last.get("event"):
        case "succeeded":
            return 0
        case "failed":
            return int(last.get("exit_code", 70))
        case "interrupted":
            return 75
        case _:
            return None
