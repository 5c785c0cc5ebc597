"""The words of both services for what a job does, and what Ray's kinds of errors mean to a person."""

from __future__ import annotations

from collections.abc import Mapping

from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import RunState

RAY_STATES: Mapping[str, RunState] = {
    "PENDING": RunState.QUEUED,
    "RUNNING": RunState.RUNNING,
    "SUCCEEDED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "STOPPED": RunState.STOPPED,
}

ANYSCALE_STATES: Mapping[str, RunState] = {
    "PENDING": RunState.QUEUED,
    "AWAITING_CLUSTER_START": RunState.QUEUED,
    "RUNNING": RunState.RUNNING,
    "UPDATING": RunState.RUNNING,
    "RESTARTING": RunState.RUNNING,
    "CLEANING_UP": RunState.FINALIZING,
    "ERRORED": RunState.RUNNING,  # may go to RESTARTING; its ends are the three below
    "SUCCESS": RunState.SUCCEEDED,
    "TERMINATED": RunState.STOPPED,
    "OUT_OF_RETRIES": RunState.FAILED,
    "BROKEN": RunState.FAILED,
}

HINTS: Mapping[str, tuple[str, RetryEvent | None]] = {
    "RUNTIME_ENV_SETUP_FAILURE": ("the cluster could not set up the job's environment", RetryEvent.PROVIDER_ERROR),
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT": (
        "the cluster had no room for the job in time; ask for less, or add nodes",
        RetryEvent.CAPACITY,
    ),
    "JOB_SUPERVISOR_ACTOR_START_FAILURE": ("Ray could not start the job", RetryEvent.PROVIDER_ERROR),
    "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE": ("no node of the cluster can hold the job", RetryEvent.CAPACITY),
    "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE": ("Ray lost the job, and does not know why", RetryEvent.PROVIDER_ERROR),
    "JOB_SUPERVISOR_ACTOR_DIED": ("the node that had the job is gone", RetryEvent.PREEMPTED),
    "JOB_ENTRYPOINT_COMMAND_START_ERROR": ("the job's command could not be started", None),
}
"""Of Ray's `error_type`: words, and what the manifest's `retry` may do about it."""
