"""Whether the daemon is well, for whoever watches it: a container's runtime, a load balancer, a person with curl.

`GET /healthz` on 127.0.0.1: 200 while the loop goes round and the database answers and takes changes, else 503, both
with the same JSON.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import ftorch
from ftorch.core.clock import from_micros, rfc3339
from ftorch.core.errors import StoreError, UsageError
from ftorch.daemon.pulse import Pulse
from ftorch.store import Store, schedule_sql, sql

HERE = "127.0.0.1"
PATH = "/healthz"
STALE_S = 60.0
"""A loop that has not gone round for so long is not well, nor is a database that has refused every change.

One bad moment is nothing; the watchdog ends a loop that hangs, later.
"""
_SLOWEST_S = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """What is told. `problem` is None where all is well."""

    version: str
    seconds_since_tick: int
    open_jobs: bool
    next_occurrence: str | None
    problem: str | None


def health(store: Store, pulse: Pulse) -> Health:
    """Look at the loop and the database."""
    age_s = pulse.age_s()
    try:
        has_work = bool(store.read().scalar(sql.HAS_WORK))
        next_micros = store.read().scalar(schedule_sql.NEXT_TIME)
    except StoreError as error:
        return Health(ftorch.__version__, int(age_s), open_jobs=False, next_occurrence=None, problem=error.message)
    return Health(
        version=ftorch.__version__,
        seconds_since_tick=int(age_s),
        open_jobs=has_work,
        next_occurrence=None if next_micros is None else rfc3339(from_micros(int(next_micros))),
        problem=_problem(age_s, store.refused_for_s()),
    )


def _problem(age_s: float, refused_for_s: float) -> str | None:
    if age_s > STALE_S:
        return f"the loop has not gone round for {age_s:.0f} seconds"
    if refused_for_s > STALE_S:
        return f"the database has taken no change for {refused_for_s:.0f} seconds: is its disk full?"
    return None


class HealthServer:
    """Answers from one thread, one question after the other."""

    def __init__(self, look: Callable[[], Health], port: int) -> None:
        """Answers at once; port 0 takes a free one. Raises UsageError when the port is taken."""
        try:
            self._http = HTTPServer((HERE, port), _handler(look))
        except OSError as error:
            raise UsageError(
                f"health cannot be served on {HERE}:{port}: {error.strerror or error}",
                hint="choose another port: FTORCH_HEALTH_PORT, or [daemon] health_port in ftorch.toml",
            ) from error
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="ftorch-health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._http.server_port

    def stop(self) -> None:
        """Stop answering and give the port back."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def _handler(look: Callable[[], Health]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SLOWEST_S  # who connects and says nothing must not keep the next one out

        def do_GET(self) -> None:
            if self.path != PATH:
                self._answer(404, {"problem": f"there is only {PATH}"})
                return
            found = look()
            told = {name: getattr(found, name) for name in Health.__slots__}
            self._answer(503 if found.problem else 200, {"status": "ill" if found.problem else "ok", **told})

        def _answer(self, status: int, told: dict[str, Any]) -> None:
            content = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Every question would be a line."""

    return Handler
