"""One worker's way to the other machines of its run. They share nothing but the storage."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from ftorch.providers.ray_jobs.inside.mirror import Mirror, drop_checkpoints, newest_step
from ftorch.providers.ray_jobs.inside.status import BEAT_S, Pace, say

EARLIER = "earlier"
"""The folder in the run's that an earlier run's checkpoints are brought to."""


class Carrier:
    """What the trainer calls so. The writer alone copies the run's folder: while the block lasts, and at its end."""

    def __init__(self, mirror: Mirror, folder: Path, key: str, resume_from: str | None) -> None:
        self._mirror = mirror
        self._folder = folder
        self._key = key
        self._resume_from = resume_from
        self._is_writer = False
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="carrier", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_writer:
            return
        self._over.set()
        self._thread.join()
        drop_checkpoints(self._folder)
        self.share()

    def catch_up(self) -> None:
        """Called once, by the writer. Until it returns nothing is copied: an old folder would hide a newer one."""
        self._mirror.catch_up(self._folder, self._key)
        if self._resume_from:
            (self._folder / EARLIER).mkdir(exist_ok=True)
            if newest_step(self._folder / "checkpoints") < 0:
                self._mirror.bring_earlier(self._resume_from, self._folder / EARLIER)
        self._is_writer = True
        self._thread.start()

    def share(self) -> None:
        """Returns when what the folder holds now has arrived."""
        with self._turn:
            self._mirror.push(self._folder, self._key)

    def bring(self) -> None:
        """Called by the others, after the writer has shared."""
        self._mirror.bring_checkpoint(self._key, self._folder / "checkpoints")

    def _beat(self) -> None:
        pace = Pace(self._folder)
        while not self._over.wait(BEAT_S):
            if pace.is_due():
                self._try_to_share()

    def _try_to_share(self) -> None:
        try:
            self.share()
        except Exception as error:  # noqa: BLE001  storage of every kind: the next copy takes what this one left
            say(f"the copy of the run failed: {error}")
