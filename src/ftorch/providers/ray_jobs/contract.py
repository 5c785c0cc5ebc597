"""What a job is told when it is made: its command and its environment. `inside` reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ftorch.core.errors import RunRejectedError
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import WANDB_KEY
from ftorch.providers.base import RunOrder

ENTRYPOINT = "python -u -m ftorch.providers.ray_jobs.inside"
STOP_WAIT_S = 60
"""So long Ray waits between asking a job to end and killing it: the trainer saves meanwhile."""


def environment(order: RunOrder, *, output_uri: str | None, use_gpu: bool) -> Mapping[str, str]:
    """The environment of the run. The service shows it to whoever may read the job, so no secret is in it."""
    changes = {"max_duration_s": order.max_duration_s, "run_name": order.key}
    wanted = {
        "FTORCH_RUN_KEY": order.key,
        "FTORCH_WORKERS": str(order.plan.resources.workers),
        "FTORCH_USE_GPU": "1" if use_gpu else "0",
        "FTORCH_CHANGES": json.dumps(changes, sort_keys=True),
        "FTORCH_RESUME_FROM": order.resume_from.key if order.resume_from else "",
        "FTORCH_OUTPUT_URI": output_uri or "",
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
    }
    return {name: text for name, text in wanted.items() if text}


def check(plan: Plan, provider: str) -> None:
    """What must be right before anything is sent. Raises RunRejectedError."""
    if WANDB_KEY in plan.secrets:
        raise RunRejectedError(
            f"{provider} shows the environment of a job to whoever may read it, and {WANDB_KEY} would be in it",
            provider=provider,
            operation="stage",
            hint=f"set {WANDB_KEY} where the cluster's machines have it, and leave it out of the manifest's secrets",
        )
