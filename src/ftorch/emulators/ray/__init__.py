"""Ray's Jobs API on 127.0.0.1, behaving as measured on Ray 2.60; the runner's folder stands behind each job."""

from ftorch.emulators.ray.emulator import OTHER_TOKEN, TOKEN, RayEmulator

__all__ = ["OTHER_TOKEN", "TOKEN", "RayEmulator"]
