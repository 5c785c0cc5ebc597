"""`status.json`: what the runner and the trainer know, in one small file that is always whole; and the marker lines."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from ftorch.providers.ray_jobs.inside.mirror import Mirror
from ftorch.providers.ray_jobs.inside.settings import MARKER, STATUS, Settings

BEAT_S = 2.0
_COPY_S = 10.0
_WAITS_S = (0.0, 1.0, 5.0)
"""Before each try of the last copy: a storage that is away for a moment costs nobody a training."""
_WRITERS = ("result.json", "events.jsonl", "heartbeat.json")
"""What is read of the writer's files. The result first: the events have the end that it tells of."""


def now() -> str:
    return datetime.now(UTC).isoformat()


class Pace:
    """Says at each beat whether a copy of the folder is due: every ten seconds, and at each new checkpoint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._beats = 0
        self._seen = 0

    def is_due(self) -> bool:
        self._beats += 1
        before, self._seen = self._seen, len(list(self._folder.glob("checkpoints/*/.complete")))
        return self._seen != before or self._beats * BEAT_S % _COPY_S == 0


class Status:
    """Written every two seconds while the block lasts, copied every ten and at each new checkpoint.

    One worker's folder is copied with it. Several copy theirs themselves, wherever the one that writes may be, and what
    it has told is read in the storage alone: what lies here may be older.
    """

    def __init__(self, settings: Settings, folder: Path, mirror: Mirror | None) -> None:
        self._settings = settings
        self._folder = folder
        self._mirror = mirror
        self._is_far = mirror is not None and settings.workers > 1
        self._told: dict[str, Any] = {
            "v": 1,
            "key": settings.key,
            "resume_from": settings.resume_from,
            "started_at": now(),
            "ended_at": None,
            "exit_code": None,
        }
        self._far: dict[str, str] = {}
        """The writer's files in the storage, when they were last read."""
        self._failed: list[dict[str, Any]] = []
        """Our own last word, after the trainer's."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="status", daemon=True)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._mark("started", self._told["started_at"])
        self.write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def end(self, exit_code: int) -> int:
        """The last word, and the last copy. Returns the exit code: another one where the copy did not arrive."""
        self.__exit__()
        self._told.update(ended_at=now(), exit_code=exit_code)
        exit_code = self._copied(exit_code)
        self._mark("ended", self._told["ended_at"], exit_code=exit_code, **self._result())
        return exit_code

    def failed(self, words: str, exit_code: int, kind: str = "setup") -> int:
        """Tell after the trainer's events why nothing came of the run."""
        say(words)
        one_line = " ".join(words.splitlines())
        failed = {"event": "failed", "type": kind, "message": one_line, "hint": None, "exit_code": exit_code}
        if not self._events():
            self._failed.append({"t": self._told["started_at"], "event": "started", "attempt": 1})
        self._failed.append({"t": now(), **failed})
        return exit_code

    def write(self) -> None:
        """Replace the file with what is known now."""
        events = self._events()
        beat, result = (_parsed(self._text(name)) for name in ("heartbeat.json", "result.json"))
        tokens = result.get("trained_tokens") if result else None
        aside = self._folder / f".{STATUS}.new"
        aside.write_text(
            json.dumps(
                {
                    **self._told,
                    "t": now(),
                    "events": [*events[:1], *events[1:][-1:]],
                    "heartbeat": beat,
                    "result": {"trained_tokens": tokens} if result else None,
                }
            )
        )
        aside.replace(self._folder / STATUS)

    def trainers_exit_code(self) -> int | None:
        """What the trainer's last event stands for; None where it was no last word. Asked when it has ended."""
        if self._is_far:
            self._tried(self._look_far)
        events = self._events()
        last = events[-1] if events else {}
        match last.get("event"):
            case "succeeded" if _parsed(self._text("result.json")):
                return 0
            case "failed":
                return int(last.get("exit_code", 70))
            case "interrupted":
                return 75
            case _:
                return None

    def _events(self) -> list[dict[str, Any]]:
        found = (_parsed(line) for line in self._text("events.jsonl").splitlines())
        return [*(event for event in found if event), *self._failed]

    def _text(self, name: str) -> str:
        if self._is_far:
            return self._far.get(name, "")
        path = self._folder / name
        return path.read_text(errors="replace") if path.exists() else ""

    def _look_far(self) -> None:
        assert self._mirror is not None
        found = {name: self._mirror.read(self._settings.key, name) for name in _WRITERS}
        self._far = {name: content.decode(errors="replace") for name, content in found.items() if content is not None}

    def _beat(self) -> None:
        pace = Pace(self._folder)
        while not self._over.wait(BEAT_S):
            self.write()
            if self._mirror and pace.is_due():
                self._try_once(self._copy)

    def _copy(self) -> None:
        assert self._mirror is not None
        if self._is_far:
            self._look_far()
            self.write()
        else:
            self._mirror.push(self._folder, self._settings.key)
        self._mirror.tell(self._folder, self._settings.key)

    def _copied(self, exit_code: int) -> int:
        """An adapter that nobody can fetch is no success."""
        self.write()
        if self._mirror is None or self._tried(self._copy):
            return exit_code
        return exit_code or 74

    def _tried(self, step: Callable[[], None]) -> bool:
        return any(self._try_once(step, wait_s) for wait_s in _WAITS_S)

    def _try_once(self, step: Callable[[], None], wait_s: float = 0.0) -> bool:
        time.sleep(wait_s)
        try:
            step()
        except Exception as error:  # noqa: BLE001  storage of every kind: what failed is copied with the next beat
            say(f"the copy to {self._settings.output_uri} failed: {error}")
            return False
        return True

    def _result(self) -> dict[str, Any]:
        content = self._text("result.json").encode()
        if not content:
            return {}
        return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    def _mark(self, kind: str, moment: str, **more: Any) -> None:
        folder = f"ftorch/{self._settings.key}"
        where = {"folder": folder, "uri": self._settings.output_uri}
        marker = {"v": 1, "kind": kind, "key": self._settings.key, "t": moment, **where, **more}
        sys.stdout.write(f"{MARKER} {json.dumps(marker)}\n")
        sys.stdout.flush()


def say(words: str) -> None:
    """A line for people who read the log."""
    sys.stdout.write(f"ftorch: {words}\n")
    sys.stdout.flush()


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
