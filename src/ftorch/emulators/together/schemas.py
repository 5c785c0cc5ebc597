"""What may be asked: a strict model of every body and every query. An unknown key is refused, never passed over.

Bodies hold all that the SDK 3.1 sends and what only the published specification has (`wandb_api_key`).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

FilePurpose = Literal["fine-tune", "calibration", "eval", "batch-api"]
FileType = Literal["csv", "jsonl", "parquet"]
Checkpoint = Literal["merged", "adapter", "model_output_path"]


class Body(BaseModel):
    """A JSON body: types as they are written, nothing converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Query(BaseModel):
    """A query or a form, where everything is text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Asked = TypeVar("Asked", bound=BaseModel)


class Nothing(Query):
    """A route that takes no query."""


class FileDeclaration(Query):
    """The form of `POST /v1/files`."""

    purpose: FilePurpose
    file_name: Annotated[str, Field(min_length=1, max_length=255)]
    file_type: FileType
    checksum: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class UploadSignature(Query):
    """The query of a presigned address."""

    signature: str


class ModelName(Query):
    model_name: str


class Lora(Body):
    type: Literal["Lora"] = "Lora"
    lora_r: PositiveInt
    lora_alpha: PositiveInt
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    lora_trainable_modules: str = "all-linear"


class Full(Body):
    type: Literal["Full"] = "Full"


class Sft(Body):
    method: Literal["sft"] = "sft"
    train_on_inputs: bool | Literal["auto"] = "auto"


class Dpo(Body):
    method: Literal["dpo"] = "dpo"
    dpo_beta: Annotated[float, Field(ge=0)] | None = None
    dpo_normalize_logratios_by_length: bool = False
    dpo_reference_free: bool = False
    rpo_alpha: Annotated[float, Field(ge=0)] | None = None
    simpo_gamma: Annotated[float, Field(ge=0)] | None = None


TrainingType = Annotated[Lora | Full, Field(discriminator="type")]
TrainingMethod = Annotated[Sft | Dpo, Field(discriminator="method")]


class LinearArgs(Body):
    min_lr_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0


class CosineArgs(LinearArgs):
    num_cycles: Annotated[float, Field(gt=0)] = 0.5


class Linear(Body):
    lr_scheduler_type: Literal["linear"] = "linear"
    lr_scheduler_args: LinearArgs | None = None


class Cosine(Body):
    lr_scheduler_type: Literal["cosine"] = "cosine"
    lr_scheduler_args: CosineArgs | None = None


Scheduler = Annotated[Linear | Cosine, Field(discriminator="lr_scheduler_type")]


class Multimodal(Body):
    train_vision: bool = False


class Estimate(Body):
    """`POST /v1/fine-tunes/estimate-price`. For what was not given the SDK sends an empty text or null."""

    training_file: str
    validation_file: str | None = None
    model: str | None = None
    from_checkpoint: str | None = None
    n_epochs: PositiveInt = 1
    n_evals: NonNegativeInt = 0
    training_type: TrainingType | None = None
    training_method: TrainingMethod = Sft()


class CreateFineTune(Body):
    """`POST /v1/fine-tunes`. What is missing gets the service's own default, which is not ours."""

    training_file: str
    validation_file: str | None = None
    model: str | None = None
    from_checkpoint: str | None = None
    suffix: Annotated[str, Field(max_length=40, pattern=r"^[A-Za-z0-9._-]*$")] | None = None
    packing: bool = True
    max_seq_length: PositiveInt | None = None
    n_epochs: PositiveInt = 1
    n_evals: NonNegativeInt | None = None
    n_checkpoints: PositiveInt | None = None
    batch_size: PositiveInt | Literal["max"] = "max"
    gradient_accumulation_steps: NonNegativeInt | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    lr_scheduler: Scheduler | None = None
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    random_seed: int | None = None
    training_type: TrainingType | None = None
    training_method: TrainingMethod = Sft()
    early_stopping_enabled: bool | None = None
    early_stopping_patience: PositiveInt | None = None
    early_stopping_min_delta: Annotated[float, Field(ge=0)] | None = None
    early_stopping_warmup_evals: NonNegativeInt | None = None
    multimodal_params: Multimodal | None = None
    wandb_key: str | None = Field(default=None, repr=False)
    wandb_api_key: str | None = Field(default=None, repr=False)
    wandb_base_url: str | None = None
    wandb_project_name: str | None = None
    wandb_name: str | None = None
    wandb_entity: str | None = None
    from_hf_model: str | None = None
    hf_model_revision: str | None = None
    hf_api_token: str | None = Field(default=None, repr=False)
    hf_output_repo_name: str | None = None

    @property
    def tracks(self) -> bool:
        """Whether the curves go to Weights & Biases."""
        return bool(self.wandb_key or self.wandb_api_key)


class MetricsQuery(Query):
    global_step_from: int | None = None
    global_step_to: int | None = None
    logged_at_from: AwareDatetime | None = None
    logged_at_to: AwareDatetime | None = None
    resolution: PositiveInt | None = None


class ForcedQuery(Query):
    """Of a deletion; the parameter is deprecated and does nothing."""

    force: bool = False


class DownloadQuery(Query):
    ft_id: str
    checkpoint: str | None = None
    checkpoint_step: NonNegativeInt | None = None


class UsageQuery(Query):
    month: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")] | None = None
    granularity: Literal["day", "hour"] = "day"
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: str | None = None
    organization_id: str | None = None
