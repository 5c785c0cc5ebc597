"""Together's API: what it is asked and what it answers, one function per endpoint. Uploads are in `sdk`.

Its answers were seen in an SDK, a specification and a few notes, never on the wire: every field that we can do without
may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from ftorch.providers.http import Http
from ftorch.providers.together.body import NewJob, Priced

_WINDOWS = 1000
Moment = Annotated[datetime, AfterValidator(lambda moment: moment.replace(tzinfo=moment.tzinfo or UTC))]
"""What comes without a zone is taken for UTC."""


def _none_if_unreadable(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValueError:
        return None


PerhapsMoment = Annotated[Moment | None, WrapValidator(_none_if_unreadable)]
"""Of things whose time is only shown: a new way to write it must not hide the rest."""


class Answer(BaseModel):
    """What Together says. Fields that we do not know are left aside: a new one must not stop us."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Named(Answer):
    id: str
    name: str = ""


class Whoami(Answer):
    """Whose key it is. The token of a signed-in person has no organisation here, and no key of its own."""

    organization: Named | None = None
    project: Named | None = None


class LoraLimits(Answer):
    max_rank: int
    min_batch_size: int = 1
    max_batch_size: int
    max_batch_size_dpo: int
    target_modules: tuple[str, ...] = ()


class Limits(Answer):
    """What a model may be trained with; None: the published specification does not have it."""

    lora_training: LoraLimits
    min_learning_rate: float
    max_learning_rate: float
    max_num_epochs: int
    max_num_evals: int
    min_max_seq_length: int | None = None
    max_seq_length_sft: int | None = None
    max_seq_length_dpo: int | None = None


class Report(Answer):
    error: str | None = None


class File(Answer):
    id: str
    filename: str = ""
    bytes: int = 0
    created_at: PerhapsMoment = None
    processing_status: str | None = None
    validation_report: Report | None = None


class Estimate(Answer):
    """A price before the job: in dollars, unlike `Job.total_price`."""

    estimation_available: bool = True
    unavailable_reason: str | None = None
    estimated_total_price: Decimal | None = None
    allowed_to_proceed: bool | None = None
    user_limit: Decimal | None = None


class Progress(Answer):
    estimate_available: bool = False
    seconds_remaining: float = 0.0


class Event(Answer):
    type: str
    message: str = ""
    created_at: PerhapsMoment = None
    step: int | None = None
    total_steps: int | None = None


class Job(Answer):
    """A record, in the list or on its own; `suffix` is in the list only, `events` are in the other only."""

    id: str
    suffix: str | None = None
    status: str
    model: str | None = None
    created_at: Moment
    updated_at: Moment | None = None
    started_at: Moment | None = None
    token_count: int | None = None
    total_price: int | None = None
    """In nano-dollars."""
    progress: Progress | None = None
    events: tuple[Event, ...] | None = None


class _Files(Answer):
    data: tuple[File, ...]


class _Jobs(Answer):
    data: tuple[Any, ...]


class _Events(Answer):
    data: tuple[Event, ...]


class _Metrics(Answer):
    metrics: tuple[Mapping[str, float | None], ...] | None = None


class Credit(Answer):
    type: str


class Usage(Answer):
    """A line of the bill. All numbers are decimal text in USD."""

    product_name: str
    quantity: Decimal
    unit_price: Decimal
    cost: Decimal
    pricing_dimensions: Mapping[str, str] = Field(default_factory=dict)
    attributes: Mapping[str, str] = Field(default_factory=dict)
    applied_credit: Credit | None = None


class UsageWindow(Answer):
    start_time: Moment
    end_time: Moment
    line_items: tuple[Usage, ...]

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.end_time < self.start_time:
            raise ValueError("ends before it starts")
        return self


class _UsagePage(Answer):
    data: tuple[UsageWindow, ...]
    next_cursor: str | None = None


def whoami(http: Http) -> Whoami:
    return http.read("/v3/whoami", Whoami, operation="check")


def limits(http: Http, model: str) -> Limits:
    """Raises RunNotFoundError for a model that cannot be tuned."""
    path = "/v1/fine-tunes/models/limits"
    return http.read(path, Limits, operation="stage", params={"model_name": model}, not_found=f"fine-tuning of {model}")


def file(http: Http, file_id: str) -> File:
    return http.read(_file(file_id), File, operation="stage", not_found=f"file {file_id}")


def files(http: Http) -> tuple[File, ...]:
    return http.read("/v1/files", _Files, operation="staged_content").data


def delete_file(http: Http, file_id: str) -> None:
    http.change("DELETE", _file(file_id), Answer, operation="discard", not_found=f"file {file_id}")


def estimate_price(http: Http, body: Priced) -> Estimate:
    """Changes nothing at Together. A refusal is final: the order itself would be refused too."""
    path = "/v1/fine-tunes/estimate-price"
    return http.change("POST", path, Estimate, operation="quote", json=body.json_object())


def create_job(http: Http, body: NewJob, *, send_before: datetime) -> Named:
    """Not idempotent: twice makes two jobs, and both are paid."""
    hidden = [body.wandb_key] if body.wandb_key else []
    return http.create("/v1/fine-tunes", Named, send_before=send_before, json=body.json_object(), hidden=hidden)


def records(http: Http, *, operation: str) -> tuple[Any, ...]:
    """The records of all jobs as they come: one that cannot be read must not hide the others."""
    return http.read("/v1/fine-tunes", _Jobs, operation=operation).data


def job(http: Http, job_id: str, *, operation: str) -> Job:
    return http.read(_path(job_id), Job, operation=operation, not_found=f"job {job_id}")


def cancel_job(http: Http, job_id: str) -> None:
    http.change("POST", _path(job_id, "cancel"), Answer, operation="cancel", not_found=f"job {job_id}")


def events(http: Http, job_id: str, *, operation: str) -> tuple[Event, ...]:
    return http.read(_path(job_id, "events"), _Events, operation=operation, not_found=f"job {job_id}").data


def metrics(http: Http, job_id: str, *, from_step: int) -> tuple[Mapping[str, float | None], ...]:
    """Rows of numbers from a step on, in the order in which they were written."""
    asked = {"global_step_from": from_step}
    path = _path(job_id, "metrics")
    return http.read(path, _Metrics, operation="logs", params=asked, not_found=f"job {job_id}").metrics or ()


def download(http: Http, job_id: str, part: Path) -> None:
    """The adapter's archive. Without `checkpoint` the merged model would come, as large as its base."""
    asked = {"ft_id": job_id, "checkpoint": "adapter"}
    http.download("/v1/finetune/download", part, params=asked, not_found=f"adapter of {job_id}", is_elsewhere=True)


def usage(http: Http, month: str, organisation: str) -> Iterator[UsageWindow]:
    """The bill of a month by the hour. Raises RunNotFoundError where the organisation may not read it."""
    asked: dict[str, Any] = {
        "month": month,
        "granularity": "hour",
        "limit": _WINDOWS,
        "organization_id": organisation,
    }
    while True:
        page = http.read("/v1/billing/usage", _UsagePage, operation="line_items", params=asked, not_found="bill")
        yield from page.data
        if page.next_cursor is None:
            return
        asked["after"] = page.next_cursor


def _file(file_id: str) -> str:
    return f"/v1/files/{quote(file_id, safe='')}"


def _path(job_id: str, *more: str) -> str:
    return "/".join(("/v1/fine-tunes", quote(job_id, safe=""), *more))
