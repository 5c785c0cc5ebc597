"""`status.json`: what the runner and the trainer know, in one small file that is always whole; and the marker lines."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from ftorch.providers.ray_jobs.inside.mirror import Mirror
from ftorch.providers.ray_jobs.inside.settings import MARKER, STATUS, Settings

BEAT_S = 2.0
COPY_S = 10.0
_TRIES = 3


def now() -> str:
    return datetime.now(UTC).isoformat()


class Status:
    """Written every two seconds while the block lasts, copied every ten and at each new checkpoint."""

    def __init__(self, settings: Settings, folder: Path, mirror: Mirror | None) -> None:
        self._settings = settings
        self._folder = folder
        self._mirror = mirror
        self._told: dict[str, Any] = {
            "v": 1,
            "key": settings.key,
            "resume_from": settings.resume_from,
            "started_at": now(),
            "ended_at": None,
            "exit_code": None,
        }
        self._far: dict[str, str] = {}
        """The writer's files, where it is on another node."""
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
        self._look_far()
        self._told.update(ended_at=now(), exit_code=exit_code)
        self.write()
        exit_code = self._copied(exit_code)
        self._mark("ended", self._told["ended_at"], exit_code=exit_code, **self._result())
        return exit_code

    def failed(self, words: str, exit_code: int, kind: str = "setup") -> int:
        """Tell in the trainer's events why nothing came of the run."""
        say(words)
        one_line = " ".join(words.splitlines())
        failed = {"event": "failed", "type": kind, "message": one_line, "hint": None, "exit_code": exit_code}
        with (self._folder / "events.jsonl").open("a") as stream:
            if not self._events():
                stream.write(json.dumps({"t": self._told["started_at"], "event": "started", "attempt": 1}) + "\n")
            stream.write(json.dumps({"t": now(), **failed}) + "\n")
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

    def last_event(self) -> dict[str, Any]:
        """The last that the trainer has told; nothing where it has told nothing."""
        self._look_far()
        events = self._events()
        return events[-1] if events else {}

    def _events(self) -> list[dict[str, Any]]:
        found = (_parsed(line) for line in self._text("events.jsonl").splitlines())
        return [event for event in found if event]

    def _text(self, name: str) -> str:
        path = self._folder / name
        return path.read_text(errors="replace") if path.exists() else self._far.get(name, "")

    def _look_far(self) -> None:
        """Of several workers the one that writes may be on another node, and copies its folder as we do ours."""
        if self._mirror is None or self._settings.workers == 1 or (self._folder / "events.jsonl").exists():
            return
        for name in ("events.jsonl", "heartbeat.json", "result.json"):
            content = self._mirror.read(self._settings.key, name)
            if content is not None:
                self._far[name] = content.decode(errors="replace")

    def _beat(self) -> None:
        beats, seen = 0, 0
        while not self._over.wait(BEAT_S):
            self.write()
            beats += 1
            complete = len(list(self._folder.glob("checkpoints/*/.complete")))
            if self._mirror and (complete != seen or beats * BEAT_S % COPY_S == 0):
                self._try_to_copy(self._mirror)
                seen = complete

    def _try_to_copy(self, mirror: Mirror) -> bool:
        try:
            self._look_far()
            mirror.push(self._folder, self._settings.key)
        except Exception as error:  # noqa: BLE001  storage of every kind: what failed is copied with the next beat
            say(f"the copy to {self._settings.output_uri} failed: {error}")
            return False
        return True

    def _copied(self, exit_code: int) -> int:
        """An adapter that nobody can fetch is no success."""
        if self._mirror is None or any(self._try_to_copy(self._mirror) for _ in range(_TRIES)):
            return exit_code
        return exit_code or 74

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
