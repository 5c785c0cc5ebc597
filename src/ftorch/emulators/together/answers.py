"""What the service answers: a strict model of every JSON answer. One that does not fit is a bug of the emulator.

Answers about jobs are in `records`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from ftorch.emulators.together.schemas import FilePurpose, FileType

ProcessingStatus = Literal["PENDING", "QUEUED", "RUNNING", "COMPLETED", "FAILED", "INVALID_FORMAT"]
UnavailableReason = Literal[
    "multimodal_dataset",
    "train_file_not_validated",
    "eval_file_not_validated",
    "train_file_invalid",
    "eval_file_invalid",
]
_DECIMAL = r"^-?\d+(\.\d+)?$"
_MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"
Moment = Annotated[str, Field(pattern=_MOMENT)]
DecimalText = Annotated[str, Field(pattern=_DECIMAL)]


class Answer(BaseModel):
    """The base class of all answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)
    shows_null: ClassVar[bool] = False
    """Whether what is not known is written as null, or not at all."""

    def value(self) -> Any:
        return self.model_dump(mode="json", by_alias=True, exclude_none=not self.shows_null)


class ValidationReport(Answer):
    valid: bool
    dataset_format: str | None = None
    nlines: NonNegativeInt | None = None
    error: str | None = None
    error_type: Literal["INVALID_FORMAT"] | None = None
    file_id: str


class File(Answer):
    id: str
    object: Literal["file"] = "file"
    bytes: NonNegativeInt
    created_at: int
    filename: str
    file_type: FileType = Field(alias="FileType")
    purpose: FilePurpose
    processed: bool = Field(alias="Processed")
    processing_status: ProcessingStatus | None = None
    validation_report: ValidationReport | None = None


class Files(Answer):
    data: list[File]


class ExistingFile(Answer):
    """409: the same content is there."""

    file_id: str
    message: str


class DeletedFile(Answer):
    id: str
    deleted: Literal[True] = True


class LoraLimits(Answer):
    default_rank: int
    max_rank: int
    min_batch_size: int
    max_batch_size: int
    max_batch_size_dpo: int
    target_modules: tuple[str, ...]


class FullLimits(Answer):
    min_batch_size: int
    max_batch_size: int
    max_batch_size_dpo: int


class Limits(Answer):
    model_name: str
    lora_training: LoraLimits
    full_training: FullLimits | None = None
    default_gradient_accumulation_steps: int
    max_num_epochs: int
    max_num_evals: int
    max_num_checkpoints: int
    min_learning_rate: float
    max_learning_rate: float
    min_max_seq_length: int
    max_seq_length_sft: int
    max_seq_length_dpo: int
    merge_output_lora: bool
    supports_full_training: bool
    supports_reasoning: bool
    supports_tools: bool
    supports_vision: bool


class SupportedModels(Answer):
    models: list[str]


class AvailableEstimate(Answer):
    """In dollars, unlike `total_price`."""

    estimation_available: Literal[True] = True
    estimated_total_price: float
    estimated_train_token_count: float
    estimated_eval_token_count: float
    allowed_to_proceed: bool
    user_limit: float


class UnavailableEstimate(Answer):
    estimation_available: Literal[False] = False
    unavailable_reason: UnavailableReason


class AppliedCredit(Answer):
    type: Literal["PREPAID", "POSTPAID", "CREDIT"]


class LineItem(Answer):
    product_name: str
    quantity: DecimalText
    unit_price: DecimalText
    cost: DecimalText
    pricing_dimensions: dict[str, str]
    attributes: dict[str, str]
    applied_credit: AppliedCredit | None = None


class UsageWindow(Answer):
    date: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    start_time: Moment
    end_time: Moment
    line_items: list[LineItem]


class UsageReport(Answer):
    """One page of a month's bill."""

    object: Literal["list"] = "list"
    organization_id: str
    billing_period: str
    currency: Literal["USD"] = "USD"
    earliest_window_start: Moment | None
    latest_window_end: Moment | None
    data: list[UsageWindow]
    next_cursor: str | None

    def value(self) -> Any:
        # These three are written even where there is nothing to say; a line's credit is not.
        ends = ("earliest_window_start", "latest_window_end", "next_cursor")
        return {**dict.fromkeys(ends), **super().value()}


class Named(Answer):
    id: str
    name: str


class Project(Named):
    slug: str


class ApiKey(Answer):
    id: str


class Whoami(Answer):
    type: Literal["project_api_key"] = "project_api_key"
    api_key: ApiKey
    organization: Named
    project: Project


class ErrorWords(Answer):
    shows_null: ClassVar[bool] = True
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Error(Answer):
    shows_null: ClassVar[bool] = True
    error: ErrorWords
