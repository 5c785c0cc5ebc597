"""What is answered: every field that Anyscale's own SDK insists on, from what the service keeps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ftorch.core.clock import rfc3339
from ftorch.emulators.anyscale.accounts import Account, Cloud, default_cloud
from ftorch.emulators.anyscale.bill import Row
from ftorch.emulators.anyscale.jobs import Job, JobRun
from ftorch.emulators.anyscale.service import ComputeTemplate

_LONG_AGO = "2026-01-01T00:00:00+00:00"
View = dict[str, Any]


def user_view(account: Account) -> View:
    return {
        "id": account.user,
        "email": account.email,
        "name": account.user.removeprefix("usr_"),
        "username": account.user,
        "verified": True,
        "organization_permission_level": "collaborator",
        "organization_ids": [account.organisation],
        "organizations": [
            {
                "id": account.organisation,
                "name": account.organisation_name,
                "public_identifier": account.organisation,
                "default_cloud_id": default_cloud(account.organisation).id,
                "is_general_platform_enabled": True,
                "is_private_endpoints_enabled": False,
                "is_usage_blocked": False,
            }
        ],
        "ld_hash": "none",
        "ld_hash_fields": [],
        "pylon_hash": "none",
    }


def cloud_view(cloud: Cloud) -> View:
    return {
        "id": cloud.id,
        "name": cloud.name,
        "provider": "AWS",
        "region": "us-west-2",
        "credentials": "none",
        "type": "PUBLIC",
        "creator_id": "usr_ada",
        "created_at": _LONG_AGO,
        "is_default": cloud.is_default,
        "is_aioa": cloud.is_hosted,
        "customer_aggregated_logs_config_id": "none",
    }


def project_view(cloud: Cloud) -> View:
    return {
        "id": cloud.project,
        "name": "default",
        "description": "",
        "created_at": _LONG_AGO,
        "creator_id": "usr_ada",
        "parent_cloud_id": cloud.id,
        "organization_id": cloud.organisation,
        "is_owner": True,
        "is_read_only": False,
        "directory_name": "default",
        "is_default": True,
        "cluster_config": "{}",
        "owners": [],
    }


def template_view(template: ComputeTemplate, cloud: Cloud) -> View:
    """As both APIs have it: the decorated one says whose cloud it is, the other leaves that aside."""
    mini_cloud = {"id": cloud.id, "name": cloud.name, "provider": "AWS"}
    return {
        "id": template.id,
        "name": template.name,
        "creator_id": template.account.user,
        "creator": _mini_user(template.account),
        "organization_id": template.account.organisation,
        "created_at": rfc3339(template.created_at),
        "last_modified_at": rfc3339(template.created_at),
        "config": {**template.config.model_dump(mode="json"), "cloud": mini_cloud},
        "version": template.version,
        "anonymous": template.is_anonymous,
    }


def build_view(build_id: str, image_uri: str | None) -> View:
    """As both APIs have it: in one an image is an application template, in the other a cluster environment."""
    environment = f"env_{build_id}"
    return {
        "id": build_id,
        "cluster_environment_id": environment,
        "application_template_id": environment,
        "application_template": environment_view(environment),
        "docker_image_name": image_uri,
        "revision": 1,
        "creator_id": "usr_ada",
        "creator": {"id": "usr_ada", "name": "ada", "username": "ada", "email": "ada@tiny.example"},
        "status": "succeeded",
        "created_at": _LONG_AGO,
        "last_modified_at": _LONG_AGO,
        "is_byod": image_uri is not None,
    }


def environment_view(environment_id: str) -> View:
    return {
        "id": environment_id,
        "name": "default_cluster_env_2.59.0_py311",
        "organization_id": "org_anyscale",
        "creator_id": "usr_ada",
        "created_at": _LONG_AGO,
        "last_modified_at": _LONG_AGO,
        "anonymous": False,
        "is_default": True,
    }


def job_view(job: Job) -> View:
    """As it is told by its id and after a create."""
    return {
        "id": job.id,
        "name": job.order.name,
        "description": job.order.description,
        "created_at": rfc3339(job.created_at),
        "updated_at": rfc3339(job.state_at or job.created_at),
        "status_updated_at": rfc3339(job.state_at or job.created_at),
        "creator_id": job.account.user,
        "config": job.order.config.model_dump(mode="json", exclude_none=True),
        "state": _state(job),
        "project_id": job.project_id,
        "cloud_id": job.cloud_id,
        "last_job_run_id": job.run.id if job.run else None,
        "overview_url": f"https://console.anyscale.com/jobs/{job.id}",
        "is_service": False,
    }


def listed_view(job: Job, cloud: Cloud) -> View:
    """As lists have it. Its tags are in neither."""
    run = job.run if job.tells_run else None
    return {
        **job_view(job),
        "project": {"id": cloud.project, "name": "default", "directory_name": "default"},
        "creator": _mini_user(job.account),
        "last_job_run": run and {**run_view(job, run), **_of_a_mini_run(job)},
    }


def run_view(job: Job, run: JobRun) -> View:
    return {
        "id": run.id,
        "name": run.id,
        "status": run.status,
        "created_at": rfc3339(run.created_at),
        "finished_at": _moment(run.finished_at),
        "ha_job_id": job.id,
        "cluster_id": job.cluster.id,
        "ray_job_submission_id": f"raysubmit_{run.id}",
    }


def chunk_view(job_run: JobRun, number: int, size: int, url: str) -> View:
    return {
        "cluster_id": "ses",
        "chunk_name": f"{job_run.id}-{number}",
        "chunk_url": url,
        "size": size,
        "file_name": f"job-driver-{job_run.id}.log",
        "node_type": "head-node",
        "node_ip": "10.0.0.1",
        "instance_id": "i-0",
        "session_id": "session",
    }


def usage_view(row: Row, *, has_day: bool) -> View:
    return {
        "anyscale_credits": float(row.credits),
        "dollar_value": None if row.usd is None else float(row.usd),
        "date": row.day.isoformat() if has_day else None,
        "cluster_id": row.cluster_id,
        **row.names,
    }


def _state(job: Job) -> View:
    return {
        "id": f"hst_{job.id}",
        "state_transitioned_at": rfc3339(job.state_at or job.created_at) if job.tells_changes else None,
        "current_state": job.state,
        "goal_state": job.goal,
        "error": job.error,
        "cluster_id": job.cluster.id if job.cluster.events else None,
    }


def _of_a_mini_run(job: Job) -> Mapping[str, Any]:
    cluster = {"id": job.cluster.id, "name": job.cluster.id}
    return {
        "ray_session_name": "session",
        "ray_job_id": "01000000",
        "environment_id": "env",
        "creator_id": job.account.user,
        "cluster": cluster,
    }


def _mini_user(account: Account) -> View:
    name = account.user.removeprefix("usr_")
    return {"id": account.user, "name": name, "username": name, "email": account.email}


def _moment(at: datetime | None) -> str | None:
    return rfc3339(at) if at else None
