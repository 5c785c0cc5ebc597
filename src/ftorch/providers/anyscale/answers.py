"""What Anyscale answers. Fields that we do not know are left aside: a new one must not stop us."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Moment = Annotated[datetime, AfterValidator(lambda moment: moment.replace(tzinfo=moment.tzinfo or UTC))]
"""What comes without a zone is taken for UTC."""


class Answer(BaseModel):
    """What Anyscale says."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Named(Answer):
    id: str
    name: str = ""


class User(Answer):
    organizations: tuple[Named, ...] = ()


class Cloud(Named):
    is_aioa: bool = False
    """Its machines are Anyscale's own, and on Anyscale's bill."""


class Node(Answer):
    instance_type: str | None = None


class ComputeConfig(Answer):
    cloud_id: str
    head_node_type: Node


class Compute(Named):
    config: ComputeConfig


class Presigned(Answer):
    file_uri: str
    url: str
    file_exists: bool
    url_scheme: str


class State(Answer):
    current_state: str
    state_transitioned_at: Moment | None = None
    error: str | None = None
    operation_message: str | None = None


class JobConfig(Answer):
    timeout_s: int | None = None


class JobRun(Answer):
    created_at: Moment | None = None


class Job(Answer):
    """A job, in a list or on its own."""

    id: str
    name: str
    description: str | None = None
    created_at: Moment
    state: State
    last_job_run_id: str | None = None
    last_job_run: JobRun | None = None
    """Lists have it."""
    config: JobConfig = Field(default_factory=JobConfig)


class Chunk(Answer):
    """A piece of a log. Only the last one of a run may still grow."""

    chunk_url: str
    size: int = 0


class LogPage(Answer):
    log_chunks: tuple[Chunk, ...] = ()
    next_page_token: str | None = None
    bearer_token: str | None = None


class Usage(Answer):
    """What a cluster cost on a day. A job has a cluster of its own, so its rows name it."""

    anyscale_credits: Decimal
    dollar_value: Decimal | None = None
    day: date = Field(alias="date")
    cloud_id: str | None = None
    cluster_id: str
    job_id: str | None = None
    job_name: str | None = None
    job_queue_name: str | None = None
    service_name: str | None = None
    workspace_name: str | None = None


class Metadata(Answer):
    next_paging_token: str | None = None


class Result(Answer):
    result: Any


class Results(Answer):
    results: tuple[Any, ...]
    metadata: Metadata = Field(default_factory=Metadata)


class UserResult(Answer):
    result: User


class CloudResult(Answer):
    result: Cloud


class NamedResult(Answer):
    result: Named


class NamedResults(Answer):
    results: tuple[Named, ...]


class ComputeResult(Answer):
    result: Compute


class ComputeResults(Answer):
    results: tuple[Compute, ...]


class PresignedResult(Answer):
    result: Presigned


class JobResult(Answer):
    result: Job


class LogResult(Answer):
    result: LogPage


class UsageResults(Answer):
    results: tuple[Usage, ...]
    metadata: Metadata = Field(default_factory=Metadata)
