"""One attempt at a run: its events, its heartbeat, and when it has to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self

from ftorch.trainer.device import World
from ftorch.trainer.errors import ExitCode, TrainerError
from ftorch.trainer.files import JsonLines, now, read_lines, read_object, sync, write_object
from ftorch.trainer.folder import Attempt, Folder, attempts

BEAT_S = 2.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(slots=True)
class Progress:
    """How far we are; the heartbeat tells it to whoever watches."""

    phase: str = "import"
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    seconds_per_step: float | None = None


class Session:
    """From `started` to the last event. Used as a context: the heartbeat beats inside."""

    def __init__(
        self,
        folder: Folder,
        *,
        max_duration_s: float | None = None,
        born: float | None = None,
        world: World = World(),  # noqa: B008  frozen
    ) -> None:
        self.folder = folder
        self.world = world
        self.progress = Progress()
        self.stop_reason: str | None = None
        self._born = time.monotonic() if born is None else born
        self._deadline = None if max_duration_s is None else self._born + max_duration_s
        self._events = JsonLines(folder.events) if world.is_writer else None
        self._steps_on = False
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        if self.world.is_writer:
            self._mark_lost()
        self.event("started", pid=os.getpid(), attempt=len(self.attempts()) + 1, **_boot_id())
        sync(self.folder.root)
        self._write_heartbeat()
        self._heart.start()
        self.phase("import")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join()
        self._write_heartbeat()
        if self._events:
            self._events.close()

    def event(self, name: str, **fields: object) -> None:
        if self._events:
            self._events.append({"t": now(), "event": name, **fields})

    def phase(self, name: str) -> None:
        self.progress.phase = name
        self.event("phase", phase=name)
        self.say(f"{name} ...")

    def say(self, words: str) -> None:
        """A line for people who read the log; several workers would say the same."""
        if not self.world.is_writer:
            return
        os.write(2, f"ftorch: {words}\n".encode())  # sys.stderr refuses to be entered again by a signal handler

    def failed(self, error: Exception) -> ExitCode:
        """Write the `failed` event. Returns the exit code that goes with it."""
        ours = error if isinstance(error, TrainerError) else TrainerError(str(error))
        kind = ours.kind if ours is error else type(error).__name__
        first_line = next(iter(str(ours).splitlines()), "")
        with suppress(OSError):  # a full disk must not hide an error behind its own
            self.event("failed", type=kind, message=first_line, hint=ours.hint, exit_code=int(ours.exit_code))
        return ours.exit_code

    def attempts(self) -> list[Attempt]:
        return attempts(read_lines(self.folder.events))

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """While training steps run, a request to stop waits for the end of the step and its checkpoint."""
        self._steps_on = True
        try:
            yield
        finally:
            self._steps_on = False

    def request_stop(self, reason: str) -> None:
        """Stop after this step, or at once where no step is running. Called by signals and by the heartbeat."""
        self.stop_reason = self.stop_reason or reason
        if not self._steps_on:
            self._leave(reason)

    def is_due(self, needed_s: float) -> bool:
        """Whether the deadline would pass within the next `needed_s` seconds."""
        return self._deadline is not None and time.monotonic() + needed_s >= self._deadline

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Turn SIGTERM and SIGINT into requests to stop."""

        def asked(_number: int, _frame: FrameType | None) -> None:
            self.request_stop("signal")

        before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _leave(self, reason: str) -> NoReturn:
        # Not an exception: half-imported libraries swallow those, and no import can be stopped in another way.
        self.event("interrupted", reason=reason, step=self.progress.step)
        self.say(f"stopped ({reason})")
        os._exit(ExitCode.INTERRUPTED)

    def _mark_lost(self) -> None:
        """Note the end of an attempt that was killed: soon its heartbeat is overwritten by ours."""
        earlier = self.attempts()
        if not earlier or earlier[-1].how != "running":
            return
        heartbeat = read_object(self.folder.heartbeat) or {}
        seen = max(str(heartbeat.get("t", "")), _last_moment(self.folder.events))
        step = max(int(heartbeat.get("step") or 0), earlier[-1].to_step)
        self.event("lost", attempt=earlier[-1].attempt, last_seen=seen, step=step)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            self._write_heartbeat()
            if self.is_due(0):
                self.request_stop("deadline")

    def _write_heartbeat(self) -> None:
        beat = {"t": now(), "pid": os.getpid(), **asdict(self.progress), "cpu_seconds": round(time.process_time(), 2)}
        if not self.world.is_writer:
            return
        try:
            write_object(self.folder.heartbeat, beat, durable=False)
        except OSError as error:  # a full disk must not end the beat: it may get room again
            self.say(f"no heartbeat: {error}")


def _boot_id() -> dict[str, str]:
    return {"boot_id": _BOOT_ID.read_text().strip()} if _BOOT_ID.exists() else {}


def _last_moment(events: Path) -> str:
    return max((str(event.get("t", "")) for event in read_lines(events)), default="")
