"""What the service answers about jobs: records in lists and on their own, events, metrics, checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt

from ftorch.emulators.together.answers import Answer, Moment
from ftorch.emulators.together.schemas import Multimodal, Scheduler, TrainingMethod, TrainingType

Status = Literal[
    "pending",
    "queued",
    "running",
    "compressing",
    "uploading",
    "cancel_requested",
    "cancelled",
    "error",
    "user_error",
    "completed",
]
EventType = Literal[
    "job_pending",
    "job_start",
    "job_stopped",
    "model_downloading",
    "model_download_complete",
    "training_data_downloading",
    "training_data_download_complete",
    "validation_data_downloading",
    "validation_data_download_complete",
    "wandb_init",
    "training_start",
    "checkpoint_save",
    "billing_limit",
    "epoch_complete",
    "eval_complete",
    "training_complete",
    "model_compressing",
    "model_compression_complete",
    "model_uploading",
    "model_upload_complete",
    "job_complete",
    "job_error",
    "job_user_error",
    "cancel_requested",
    "job_restarted",
    "refund",
    "warning",
    "early_stopped",
    "tokenized_dataset_upload_complete",
]


class Event(Answer):
    object: Literal["fine-tune-event"] = "fine-tune-event"
    created_at: Moment
    level: Literal["info", "warning", "error"]
    message: str
    type: EventType
    param_count: int = 0
    token_count: int = 0
    total_steps: int = 0
    wandb_url: str = ""
    step: int = 0
    checkpoint_path: str = ""
    model_path: str = ""
    training_offset: int = 0
    hash: str = ""


class Events(Answer):
    data: list[Event]


class Progress(Answer):
    estimate_available: bool
    seconds_remaining: NonNegativeInt


class Common(Answer):
    """What a record of a job holds, in the list and on its own."""

    id: str
    status: Status
    created_at: Moment
    updated_at: Moment
    started_at: Moment | None = None
    user_id: str
    events: list[Event]
    training_file: str
    validation_file: str | None = None
    model: str
    model_output_name: str
    n_epochs: int
    n_evals: int
    n_checkpoints: int
    batch_size: int
    learning_rate: float
    lr_scheduler: Scheduler
    warmup_ratio: float
    max_grad_norm: float
    weight_decay: float
    training_type: TrainingType
    training_method: TrainingMethod
    from_checkpoint: str | None = None
    from_hf_model: str | None = None
    hf_model_revision: str | None = None
    wandb_project_name: str | None = None
    token_count: NonNegativeInt | None = None
    total_price: NonNegativeInt | None = None
    """Nano-dollars."""
    progress: Progress


class TruncatedJob(Common):
    """In lists, and the answer to a create and a cancel."""

    owner_address: str
    adapter_output_name: str | None = None
    suffix: str | None = None
    packing: bool
    max_seq_length: int
    random_seed: int
    wandb_name: str | None = None
    wandb_entity: str | None = None


class Jobs(Answer):
    data: list[TruncatedJob]


class Job(Common):
    """The full record: more about the outcome, nothing about the suffix."""

    job_id: str
    param_count: int
    queue_depth: NonNegativeInt
    epochs_completed: NonNegativeInt
    eval_steps: NonNegativeInt
    trainingfile_numlines: int
    trainingfile_size: int
    model_output_path: str | None = None
    adapter_object_id: str | None = None
    adapter_object_name: str | None = None
    adapter_object_revision_id: str | None = None
    multimodal_params: Multimodal | None = None
    wandb_url: str | None = None


class DeletedJob(Answer):
    message: str


class Metrics(Answer):
    metrics: list[dict[str, float]]


class Checkpoint(Answer):
    step: int
    path: str
    created_at: Moment
    checkpoint_type: str
    checkpoint: Literal["model", "adapter"]
    object_id: str
    object_name: str
    object_revision_id: str


class Checkpoints(Answer):
    data: list[Checkpoint]
