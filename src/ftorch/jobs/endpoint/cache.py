"""What an endpoint was asked and answered, in one append-only file of JSON lines.

    sent      written before a call leaves, with the most that it may cost
    refused   the call was not paid for
    answered  the answer; the call is paid for and never made again

A call that was sent and has neither of the others was lost, in a kill or on the wire: it may have been paid for.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ftorch.core.files import translated
from ftorch.jobs.endpoint.terms import Endpoint


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True)

    call: str


class Sent(_Line):
    """A call is about to leave."""

    event: Literal["sent"] = "sent"
    worst_case: Decimal | None


class Refused(_Line):
    """The call that was sent last was not paid for."""

    event: Literal["refused"] = "refused"


class Answered(_Line):
    """An answer with what it really cost and how long it really took."""

    event: Literal["answered"] = "answered"
    output: str
    prompt_tokens: int | None
    output_tokens: int | None
    is_truncated: bool
    note: str
    latency_ms: float
    cost: Decimal | None
    at: datetime


Line = Sent | Refused | Answered
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="event")])


class Cache:
    """One endpoint's file. Threads may share it; so may processes, who then see each other's answers next time."""

    def __init__(self, folder: Path, endpoint: Endpoint) -> None:
        self.path = folder / _name(endpoint)
        self.answers: dict[str, Answered] = {}
        self._open: defaultdict[str, list[Decimal | None]] = defaultdict(list)
        self._lock = threading.Lock()
        self._stream: FileIO | None = None
        self._is_torn = False
        self._read()

    def __enter__(self) -> Self:
        """Open it for writing."""
        with translated(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def add(self, line: Line) -> None:
        """Append. An answer is on the disk when this returns. Raises StoreError when the disk is full."""
        content = line.model_dump_json().encode() + b"\n"
        with self._lock, translated(self.path):
            assert self._stream is not None, "written outside of `with`"
            # What was cut before is ended first, or this line would become a part of it.
            content, self._is_torn = b"\n" * self._is_torn + content, True
            while content:
                content = content[self._stream.write(content) :]
            self._is_torn = False
            if isinstance(line, Answered):
                os.fsync(self._stream.fileno())
            self._take(line)

    def lost(self, call: str) -> list[Decimal | None]:
        """The worst cases of the call's requests whose answers never came."""
        return list(self._open.get(call, ()))

    def _read(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            for text in stream:
                self._is_torn = not text.endswith(b"\n")
                try:
                    self._take(_LINE.validate_json(text))
                except ValidationError:
                    continue  # cut by a kill; when it was an answer, its `sent` says that it may have been paid

    def _take(self, line: Line) -> None:
        match line:
            case Sent():
                self._open[line.call].append(line.worst_case)
            case Refused() | Answered():
                del self._open[line.call][-1:]
        if isinstance(line, Answered):
            self.answers[line.call] = line


def _name(endpoint: Endpoint) -> str:
    """One file per address and model, with a name that a person recognises."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", f"{endpoint.completions_url.host}-{endpoint.model}")[:80]
    identity = f"{endpoint.completions_url} {endpoint.model}"
    return f"{plain}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.jsonl"
