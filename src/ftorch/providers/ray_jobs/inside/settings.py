"""What the environment of a job says, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARKER = "FTORCH_EVENT"
STATUS = "status.json"


@dataclass(frozen=True)
class Settings:
    """One run, as it was ordered. `package` is the folder that our package was unpacked to."""

    key: str
    package: Path
    workers: int
    use_gpu: bool
    changes: Mapping[str, Any]
    resume_from: str | None
    output_uri: str | None

    @classmethod
    def from_env(cls, env: Mapping[str, str], package: Path) -> Settings:
        return cls(
            key=env["FTORCH_RUN_KEY"],
            package=package,
            workers=int(env.get("FTORCH_WORKERS", "1")),
            use_gpu=env.get("FTORCH_USE_GPU") == "1",
            changes=json.loads(env.get("FTORCH_CHANGES", "{}")),
            resume_from=env.get("FTORCH_RESUME_FROM") or None,
            output_uri=env.get("FTORCH_OUTPUT_URI") or None,
        )
