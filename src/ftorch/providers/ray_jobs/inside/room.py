"""Workers wait for room in the cluster, and not for ever: a job of Ray that runs and does nothing is paid for too."""

from __future__ import annotations

from collections.abc import Mapping

from ftorch.providers.ray_jobs.inside.settings import Settings

TRIES = 5
"""So often Ray Train asks for the workers' places, and takes the request back."""
TRY_S = 180
"""A quarter of an hour in all, as long as Ray lets a job wait that asks for a GPU itself. Clusters grow meanwhile."""


def none_found(settings: Settings, waited_s: float, has: Mapping[str, float]) -> str:
    """What a run fails with. `has` is what Ray says of the cluster."""
    kind = "GPU" if settings.use_gpu else "CPU"
    there = ", ".join(f"{has.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
    return (
        f"{settings.workers} workers with a {kind} each found no room within {waited_s / 60:.3g} minutes;"
        f" the cluster has {there}, and others may be using them"
    )
