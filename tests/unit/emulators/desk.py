"""Together's emulator with a clock that stands still, and someone who asks it over HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from ftorch.core.clock import ManualClock
from ftorch.emulators.together import KEY, TogetherEmulator
from ftorch.emulators.together.jobs import QUEUE_S, SAVE_S, TOKENISE_S, WORK_S, Job

MODEL = "Qwen/Qwen3-8B"
LORA = {"type": "Lora", "lora_r": 16, "lora_alpha": 32}
WHOLE_S = QUEUE_S + TOKENISE_S + WORK_S + SAVE_S
Row = Mapping[str, Any]


def chats(count: int = 40) -> list[Row]:
    """Conversations of 14 tokens each."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"thing {n:04d} is red?"},
                {"role": "assistant", "content": "yes " * 5},
            ]
        }
        for n in range(count)
    ]


def preferences(count: int = 40) -> list[Row]:
    return [
        {
            "input": {"messages": [{"role": "user", "content": f"How is thing {n}?"}]},
            "preferred_output": [{"role": "assistant", "content": "It is well, thank you."}],
            "non_preferred_output": [{"role": "assistant", "content": "No."}],
        }
        for n in range(count)
    ]


def jsonl(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@dataclass
class Desk:
    """One person's view of the emulator."""

    emulator: TogetherEmulator
    clock: ManualClock
    http: httpx.Client
    key: str = KEY

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        return self.http.request(method, self.emulator.url + path, headers=headers, **more)

    def as_(self, key: str) -> Desk:
        """The same with another key."""
        return replace(self, key=key)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def declare(self, content: bytes, *, name: str = "train.jsonl", purpose: str = "fine-tune") -> httpx.Response:
        form = {
            "purpose": purpose,
            "file_name": name,
            "file_type": name.rpartition(".")[2],
            "checksum": hashlib.sha256(content).hexdigest(),
        }
        return self.ask("POST", "/v1/files", files={field: (None, value) for field, value in form.items()})

    def upload(self, content: bytes, **more: Any) -> str:
        """The id of the file, checked."""
        file_id = self.send(self.declare(content, **more), content)
        self.clock.advance(5)
        return file_id

    def send(self, declared: httpx.Response, content: bytes) -> str:
        """Put the content where the declaration says, and hand it over to be checked."""
        assert declared.status_code == 302, declared.text
        assert self.http.put(declared.headers["location"], content=content).status_code == 200
        file_id: str = declared.headers["x-together-file-id"]
        assert self.ask("POST", f"/v1/files/{file_id}/preprocess").status_code == 200
        return file_id

    def order(self, rows: Sequence[Row] | None = None, **changes: Any) -> dict[str, Any]:
        """A body that is taken; the same rows are uploaded once."""
        content = jsonl(rows or chats())
        declared = self.declare(content)
        file_id = declared.json()["file_id"] if declared.status_code == 409 else self.upload(content)
        order = {"training_file": file_id, "model": MODEL, "training_type": LORA, "batch_size": 8, **changes}
        return {name: value for name, value in order.items() if value is not None}

    def create(self, rows: Sequence[Row] | None = None, **changes: Any) -> Job:
        """A new job as the service itself has it."""
        answer = self.ask("POST", "/v1/fine-tunes", json=self.order(rows, **changes))
        assert answer.status_code == 200, answer.text
        return self.emulator.service.job(self._organisation, answer.json()["id"])

    def record(self, job: Job) -> Any:
        return self.get(f"/v1/fine-tunes/{job.id}")

    def events(self, job: Job) -> list[str]:
        """The types of its events until now."""
        return [event["type"] for event in self.get(f"/v1/fine-tunes/{job.id}/events")["data"]]

    def finish(self, job: Job) -> None:
        self.clock.advance(max((job.ends_at - self.clock.now()).total_seconds(), 0))

    @property
    def _organisation(self) -> str:
        organisation: str = self.get("/v3/whoami")["organization"]["id"]
        return organisation
