"""What may be asked: strict models of the bodies and queries that Anyscale's SDK sends. An unknown name is refused."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

HaState = Literal[
    "PENDING",
    "AWAITING_CLUSTER_START",
    "UPDATING",
    "RUNNING",
    "SUCCESS",
    "ERRORED",
    "TERMINATED",
    "CLEANING_UP",
    "BROKEN",
    "OUT_OF_RETRIES",
    "RESTARTING",
]
RunStatus = Literal["RUNNING", "COMPLETED", "PENDING", "STOPPED", "SUCCEEDED", "FAILED", "UNKNOWN"]
TagText = Annotated[str, Field(min_length=1, max_length=256)]


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Asked):
    pass


# compute configs


class Resources(Asked):
    cpu: int | None = None
    gpu: int | None = None
    memory: int | None = None
    object_store_memory: int | None = None
    custom_resources: dict[str, int] | None = None
    system_reserved_cpu_millicpu: int | None = None
    system_reserved_memory_bytes: int | None = None


class PhysicalResources(Asked):
    cpu: int | None = None
    gpu: int | None = None
    memory: int | None = None
    tpu: int | None = None
    accelerator: str | None = None
    anyscale_tpu_hosts: int | None = None
    cpu_architecture: str | None = None


class Node(Asked):
    name: str
    instance_type: str | None = None
    resources: Resources | None = None
    physical_resources: PhysicalResources | None = None
    required_resources: PhysicalResources | None = None
    labels: dict[str, str] | None = None
    required_labels: dict[str, str] | None = None
    aws_advanced_configurations_json: dict[str, Any] | None = None
    gcp_advanced_configurations_json: dict[str, Any] | None = None
    advanced_configurations_json: dict[str, Any] | None = None
    flags: dict[str, Any] | None = None


class WorkerGroup(Node):
    min_workers: Annotated[int, Field(ge=0)] | None = None
    max_workers: Annotated[int, Field(ge=0)] | None = None
    use_spot: bool | None = None
    fallback_to_ondemand: bool | None = None


class DeploymentConfig(Asked):
    cloud_deployment: str | None = None
    cloud_resource_id: str | None = None
    allowed_azs: list[str] | None = None
    head_node_type: Node
    worker_node_types: list[WorkerGroup] | None = None
    advanced_configurations_json: dict[str, Any] | None = None
    auto_select_worker_config: bool | None = None
    flags: dict[str, Any] | None = None


class ComputeConfig(DeploymentConfig):
    cloud_id: str
    maximum_uptime_minutes: int | None = None
    deployment_configs: list[DeploymentConfig] | None = None
    max_workers: int | None = None
    region: str | None = None
    aws_advanced_configurations_json: dict[str, Any] | None = None
    gcp_advanced_configurations_json: dict[str, Any] | None = None
    idle_termination_minutes: int | None = None


class CreateComputeTemplate(Asked):
    name: str | None = None
    project_id: str | None = None
    config: ComputeConfig
    anonymous: bool | None = None
    new_version: bool | None = None


class TextQuery(Asked):
    equals: str | None = None
    not_equal: str | None = None
    contains: str | None = None


class ComputeTemplateQuery(Asked):
    orgwide: bool | None = None
    project_id: str | None = None
    creator_id: str | None = None
    name: TextQuery | None = None
    include_anonymous: bool | None = None
    archive_status: Literal["ARCHIVED", "NOT_ARCHIVED", "ALL"] | None = None
    cloud_id: str | None = None
    version: int | None = None


# looking up


class CloudName(Asked):
    name: str


class ProjectQuery(Asked):
    name: TextQuery
    parent_cloud_id: TextQuery


class ParentCloud(Asked):
    parent_cloud_id: str


class DefaultCompute(Asked):
    cloud_id: str | None = None
    cloud_resource_id: str | None = None


class DefaultBuild(Asked):
    python_version: str
    ray_version: str


class ImageBuild(Asked):
    image_uri: str
    ray_version: str | None = None
    registry_login_secret: str | None = None
    cluster_env_name: str | None = None
    cloud_id: str | None = None


class PresignedUrl(Asked):
    file_type: Literal["runtime_env_packages", "datasets"]
    file_name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    access_mode: Literal["READ", "WRITE"]
    scope: str | None = None
    cloud_resource_id: str | None = None
    cloud_deployment_id: str | None = None


# jobs


class RuntimeEnv(Asked):
    working_dir: str | None = None
    py_modules: list[str] | None = None
    py_executable: str | None = None
    pip: list[str] | None = None
    env_vars: dict[str, str] | None = None
    excludes: list[str] | None = None
    user_provided_working_dir: str | None = None
    """What the SDK adds: where the folder lies on the laptop."""


class JobConfig(Asked):
    entrypoint: Annotated[str, Field(min_length=1)]
    runtime_env: RuntimeEnv | None = None
    build_id: str
    compute_config_id: str
    max_retries: Annotated[int, Field(ge=0)] | None = None
    timeout_s: Annotated[int, Field(ge=1)] | None = None


class CreateJob(Asked):
    name: Annotated[str, Field(min_length=1, max_length=255)]
    description: str | None = None
    project_id: str | None = None
    config: JobConfig
    tags: dict[TagText, TagText] | None = None


class ListJobs(Asked):
    """`state_filter` and `tag_filter` come several times each: states and values of one key are alternatives."""

    project_id: str | None = None
    cloud_id: str | None = None
    creator_id: str | None = None
    name: str | None = None
    state_filter: tuple[HaState, ...] = ()
    type_filter: Literal["BATCH_JOB", "SERVICE"] | None = None
    archive_status: Literal["ARCHIVED", "NOT_ARCHIVED", "ALL"] = "NOT_ARCHIVED"
    tag_filter: tuple[Annotated[str, Field(pattern="^[^:]+:.+$")], ...] = ()
    sort_field: Literal["STATUS", "CREATED_AT", "NAME", "ID"] | None = None
    sort_order: Literal["ASC", "DESC"] | None = None
    paging_token: str | None = None
    count: Annotated[int, Field(ge=0, le=1000)] = 10


class SortClause(Asked):
    sort_field: Literal["CREATED_AT"]
    sort_order: Literal["ASC", "DESC"]


class SearchRuns(Asked):
    ha_job_ids: list[str]
    max_runs_per_job: int | None = None
    sort_by_clauses: list[SortClause] | None = None
    run_name: str | None = None


class LogPage(Asked):
    page_size: Annotated[int, Field(ge=1, le=1000)] = 1000
    next_page_token: str | None = None
    previous_page_token: str | None = None


class StorageSignature(Asked):
    signature: Literal["emulated"]


# the bill


class UsageQuery(Asked):
    start_date: date
    end_date: date
    name_contains: str | None = None
    group_by_date: bool | None = None
    asc: bool | None = None


class UsagePage(Asked):
    paging_token: str | None = None
    count: Annotated[int, Field(ge=1, le=1000)] = 50
