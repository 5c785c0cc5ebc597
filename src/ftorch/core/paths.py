"""Where ftorch keeps its state: one folder, `FTORCH_HOME`, made with rights for its owner only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ftorch.core.errors import StoreError


@dataclass(frozen=True, slots=True)
class Home:
    """The state folder. Its members are names only: nothing is made before `ensure`."""

    root: Path
    artifacts: Path | None = None
    """A folder that all daemons of one database reach, for frozen rows and adapters; None: they stay in `root`."""

    @property
    def is_shared(self) -> bool:
        return self.artifacts is not None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """`FTORCH_HOME`, else the platform's data folder for ftorch."""
        if named := env.get("FTORCH_HOME"):
            return cls(Path(named).expanduser().absolute())
        # Ten times the cost of this module, and only needed by those who did not choose a folder.
        from platformdirs import user_data_path  # noqa: PLC0415

        return cls(user_data_path("ftorch"))

    @property
    def database(self) -> Path:
        return self.root / "ftorch.db"

    @property
    def daemon_lock(self) -> Path:
        return self.root / "daemon.lock"

    @property
    def daemon_pid(self) -> Path:
        """Who leads, for people and programs; see `jobs.sign`."""
        return self.root / "daemon.pid"

    @property
    def daemon_stay(self) -> Path:
        """There while somebody asks that the daemon stay when it is idle."""
        return self.root / "daemon.stay"

    @property
    def daemon_log(self) -> Path:
        return self.root / "daemon.log"

    @property
    def daemon_err(self) -> Path:
        """What a daemon without a terminal said outside its log: how it failed before the log was open."""
        return self.root / "daemon.err"

    @property
    def datasets(self) -> Path:
        """Frozen copies of what was submitted, by content hash."""
        return (self.artifacts or self.root) / "datasets"

    @property
    def bases(self) -> Path:
        """Base models prepared on this machine."""
        return self.root / "bases"

    @property
    def runs(self) -> Path:
        """The folders of runs of the provider `local`."""
        return self.root / "runs"

    @property
    def adapters(self) -> Path:
        """Adapters brought home, one folder per job."""
        return (self.artifacts or self.root) / "adapters"

    @property
    def prices(self) -> Path:
        """What providers' own catalogues said when they were last asked."""
        return self.root / "prices.json"

    @property
    def evaluations(self) -> Path:
        """What models answered to held-out rows, by model and rows; kept, so that nothing is answered twice."""
        return self.root / "evaluations"

    def ensure(self) -> Self:
        """Make the folder. Raises StoreError when it cannot be made or written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise self._unusable("it cannot be written")
        return self

    def _unusable(self, reason: str) -> StoreError:
        return StoreError(
            f"the state folder {self.root} cannot be used: {reason}",
            hint="set FTORCH_HOME to a folder that you can write, or mend the rights of this one",
        )
