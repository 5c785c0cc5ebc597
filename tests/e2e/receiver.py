"""Somebody who is told: a real server on 127.0.0.1 that checks signatures by itself, and takes nothing at first."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What was sent to it. `refusals` attempts are answered 503 first."""

    secret: str
    url: str = ""
    refusals: int = 0
    retry_after: str = ""
    """Seconds that a refusal asks for, if any."""
    attempts: list[dict[str, str]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The notices of one kind that it took."""
        return [one["data"] for one in self.taken if one["type"] == f"ftorch.{kind}"]

    def answer(self, headers: dict[str, str], content: bytes) -> int:
        """The status for one request; what is not signed with our secret is refused for good."""
        self.attempts.append(headers)
        told = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
        digest = hmac.new(base64.b64decode(self.secret.removeprefix("whsec_")), told, hashlib.sha256).digest()
        if headers["webhook-signature"] != f"v1,{base64.b64encode(digest).decode()}":
            return 410
        if len(self.attempts) <= self.refusals:
            return 503
        self.taken.append(json.loads(content))
        return 204


@contextmanager
def listening(refusals: int = 0) -> Iterator[Receiver]:
    """A receiver for the length of the block."""
    receiver = Receiver("whsec_" + base64.b64encode(b"twenty-four bytes of key").decode(), refusals=refusals)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(receiver.answer({name.lower(): text for name, text in self.headers.items()}, content))
            if receiver.retry_after:
                self.send_header("retry-after", receiver.retry_after)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/news"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
