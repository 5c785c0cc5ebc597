"""Our words as the trainer library's: every value written out, because its defaults are not ours."""

from __future__ import annotations

import importlib.util
from typing import Any

from ftorch.trainer.device import Device
from ftorch.trainer.errors import SpecError, did_you_mean
from ftorch.trainer.folder import Folder
from ftorch.trainer.spec import TrainSpec

OPTIMIZER = "adamw_torch_fused"

_TRACKER_VARIABLES = {
    "wandb": {"project": "WANDB_PROJECT", "entity": "WANDB_ENTITY"},
    "mlflow": {"project": "MLFLOW_EXPERIMENT_NAME", "tracking_uri": "MLFLOW_TRACKING_URI"},
    "trackio": {"project": "TRACKIO_PROJECT", "space_id": "TRACKIO_SPACE_ID"},
}


def training_arguments(spec: TrainSpec, device: Device, folder: Folder) -> dict[str, Any]:
    """Keyword arguments for TRL's SFTConfig or DPOConfig."""
    return {
        **_optimisation(spec),
        **_machine(device),
        # Every weight of an adapter is used in each step: looking for others would cost a walk over the graph.
        "ddp_find_unused_parameters": False if spec.workers > 1 else None,
        **_reports(spec, folder),
        **(_sft(spec) if spec.method == "sft" else _dpo(spec)),
        "max_length": spec.max_length,
        "truncation_mode": "keep_start",
        "pad_to_multiple_of": None,
    }


def effective(spec: TrainSpec, device: Device, lora: dict[str, Any]) -> dict[str, Any]:
    """The values a run really used, for its record."""
    return {
        "method": spec.method,
        **{name: value for name, value in _optimisation(spec).items() if name != "data_seed"},
        "batch_size": spec.batch_size,
        "micro_batch_size": spec.micro_batch,
        "max_length": spec.max_length,
        "truncation": "keep_start",
        "packing": False,
        "lora": lora,
        "train_on": spec.train_on if spec.method == "sft" else "completion",
        "beta": spec.beta if spec.method == "dpo" else None,
        "dtype": device.dtype,
        "autocast": device.autocasts,
        "quantize": spec.quantize,
        "gradient_checkpointing": device.checkpoints_gradients,
        "chat_template_kwargs": spec.chat_template_kwargs,
        "save_every_steps": spec.save_every_steps,
        "threads": device.threads,
        "workers": spec.workers,
    }


def tracking_environment(spec: TrainSpec) -> dict[str, str]:
    """What the trackers read from the environment. Raises SpecError for a tracker that is not installed."""
    return {name: text for tracker in trackers(spec) for name, text in _variables(spec, tracker).items()}


def trackers(spec: TrainSpec) -> list[str]:
    return [name for name in _TRACKER_VARIABLES if getattr(spec.tracking, name) is not None]


def _variables(spec: TrainSpec, tracker: str) -> dict[str, str]:
    if importlib.util.find_spec(tracker) is None:
        raise SpecError(f"tracking.{tracker}: the package is not installed", hint=f"run `pip install {tracker}`")
    known = _TRACKER_VARIABLES[tracker]
    wanted: dict[str, str] = getattr(spec.tracking, tracker)
    for key in wanted:
        if key not in known:
            raise SpecError(f"tracking.{tracker}.{key}: not a known key{did_you_mean(key, known)}")
    return {known[key]: text for key, text in wanted.items()}


def _optimisation(spec: TrainSpec) -> dict[str, Any]:
    return {
        "num_train_epochs": spec.epochs,
        "max_steps": spec.max_steps or -1,
        "per_device_train_batch_size": spec.micro_batch,
        "gradient_accumulation_steps": spec.accumulation,
        "learning_rate": spec.learning_rate,
        "lr_scheduler_type": spec.scheduler,
        "warmup_steps": spec.warmup_ratio,  # transformers 5 reads a value below 1 as a ratio
        "weight_decay": spec.weight_decay,
        "max_grad_norm": spec.max_grad_norm,
        "optim": OPTIMIZER,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "seed": spec.seed,
        "data_seed": spec.seed,
    }


def _machine(device: Device) -> dict[str, Any]:
    return {
        "use_cpu": device.kind == "cpu",
        "bf16": device.autocasts,
        "fp16": False,
        "gradient_checkpointing": device.checkpoints_gradients,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if device.checkpoints_gradients else None,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device.kind == "cuda",
    }


def _reports(spec: TrainSpec, folder: Folder) -> dict[str, Any]:
    has_validation = spec.validation_file is not None
    trackio = spec.tracking.trackio or {}
    return {
        "output_dir": str(folder.checkpoints),
        "save_strategy": "steps",
        "save_steps": spec.save_every_steps,
        "save_total_limit": 2,
        "eval_strategy": "epoch" if has_validation else "no",
        "per_device_eval_batch_size": spec.micro_batch,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # the filter hides a diverged loss behind the mean of the others
        "report_to": trackers(spec),
        "run_name": spec.run_name,
        "disable_tqdm": True,
        "push_to_hub": False,
        **({"project": trackio["project"]} if "project" in trackio else {}),
        **({"trackio_space_id": trackio["space_id"]} if "space_id" in trackio else {}),
    }


def _sft(spec: TrainSpec) -> dict[str, Any]:
    return {
        "completion_only_loss": spec.train_on == "completion",
        "packing": False,
        "padding_free": False,
        "shuffle_dataset": False,
        "loss_type": "nll",
    }


def _dpo(spec: TrainSpec) -> dict[str, Any]:
    return {
        "beta": spec.beta,
        "loss_type": ["sigmoid"],
        "disable_dropout": True,
        "precompute_ref_log_probs": False,
    }
