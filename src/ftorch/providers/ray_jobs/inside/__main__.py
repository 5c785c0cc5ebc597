"""The entry point of a job on the cluster."""

from __future__ import annotations

import sys

from ftorch.providers.ray_jobs.inside.runner import main

if __name__ == "__main__":
    sys.exit(main())
