"""Where the run's folder lies on this node: among the logs of Ray's session, so that the cluster's API shows it."""

from __future__ import annotations

import tempfile
from pathlib import Path


class SetupError(Exception):
    """The run could not be made ready; what is said goes to its events."""

    def __init__(self, words: str, exit_code: int = 70) -> None:
        super().__init__(words)
        self.exit_code = exit_code


def runs_folder(package: Path, *, is_copied: bool) -> Path:
    """The folder of all runs on this node. Raises SetupError where nobody could read it and it is copied nowhere.

    Ray unpacks our package to SESSION/runtime_resources/working_dir_files/PACKAGE.
    """
    logs = package.parents[2] / "logs" if len(package.parents) > 2 else package
    if package.parents[0].name == "working_dir_files" and logs.is_dir():
        return logs / "ftorch"
    if is_copied:
        return Path(tempfile.gettempdir()) / "ftorch"
    raise SetupError(f"{package} is in no session of Ray, and provider.ray.output_uri names no other place")
