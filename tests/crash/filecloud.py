"""A cloud that several processes reach: every run is a file. Run as a program it is a daemon of it, to be killed."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

from ftorch.core.clock import SystemClock, from_micros, to_micros
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.daemon.loop import Daemon
from ftorch.jobs.context import Context
from ftorch.providers.base import RunState
from ftorch.store import Store, open_store
from unit.jobs.cloud import Cloud, CloudProvider, Remote

INSTALLATION = "abc123"


class FileCloud(Cloud):
    """Runs are read from their files at every look; ends are computed, and releases are not kept."""

    def __init__(self, folder: Path, training: timedelta) -> None:
        self._folder = folder
        super().__init__(SystemClock())
        self.training = training

    def create(self, key: str, max_duration_s: int | None = None) -> Remote:
        run = Remote(f"remote-{key}", key, self.clock.now(), max_duration_s=max_duration_s)
        # A second create under one key would be a second file.
        path = self._folder / f"{len(list(self._folder.iterdir()))}-{key}.json"
        path.write_text(json.dumps({"key": key, "created_at": to_micros(run.created_at)}))
        return run

    def look(self) -> None:
        self.runs = [self._read(path) for path in sorted(self._folder.glob("*.json"))]
        super().look()

    def _read(self, path: Path) -> Remote:
        kept = json.loads(path.read_text())
        return Remote(f"remote-{kept['key']}", kept["key"], from_micros(kept["created_at"]), RunState.RUNNING)


def context_of(home: Path, store: Store, cloud: FileCloud) -> Context:
    provider = CloudProvider(cloud)
    return Context(
        store=store,
        clock=SystemClock(),
        ids=Ids(),
        home=Home(home, artifacts=home.parent / "shared"),
        installation=INSTALLATION,
        env={},
        open_provider=lambda _name: provider,
    )


def main(home: Path, url: str, folder: Path, training_s: float) -> None:
    """Be a daemon, until somebody kills us."""
    home.mkdir()
    cloud = FileCloud(folder, timedelta(seconds=training_s))
    Daemon(context_of(home, open_store(url), cloud), cwd=home).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
