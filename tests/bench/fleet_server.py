"""A provider of many runs, as a process: `python fleet_server.py ADAPTER SHORTEST_S LONGEST_S` prints its port.

Plain HTTP/1.1 with keep-alive on 127.0.0.1. Runs end by themselves after a seeded time; lists have pages of 100, oldest
first. It counts what it is asked.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 100


class Fleet:
    """All runs, in the order in which they were made."""

    def __init__(self, adapter: bytes, shortest_s: float, longest_s: float) -> None:
        self.adapter = adapter
        self.span = (shortest_s, longest_s)
        self.chance = random.Random(20261124)
        self.runs: list[dict[str, Any]] = []
        self.asked: Counter[str] = Counter()
        self.first_after_mark: float | None = None

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        match [method, *path.strip("/").split("/")]:
            case ["GET", "counters"]:
                return 200, json.dumps({**self.asked, "first_after_mark": self.first_after_mark}).encode()
            case ["POST", "mark"]:
                self.first_after_mark = None
                return 200, b"{}"
            case ["POST", "runs"]:
                return 200, json.dumps(self._seen(self._make(json.loads(body)["key"]))).encode()
            case ["GET", "runs"]:
                return 200, self._page(int(query.get("after", ["0"])[0]))
            case ["GET", "runs", _]:
                self._note("get")
                return 404, b"{}"
            case ["GET", "adapter"]:
                self._note("adapter")
                return 200, self.adapter
            case _:
                return 404, b"{}"

    def _make(self, key: str) -> dict[str, Any]:
        self._note("create")
        now = time.time()
        run = {"id": f"r{len(self.runs)}", "key": key, "began": now, "ends": now + self.chance.uniform(*self.span)}
        self.runs.append(run)
        return run

    def _page(self, after: int) -> bytes:
        self._note("list")
        self.asked["walk"] += after == 0
        some = self.runs[after : after + PAGE]
        following = after + PAGE if after + PAGE < len(self.runs) else None
        return json.dumps({"runs": [self._seen(run) for run in some], "following": following}).encode()

    def _seen(self, run: dict[str, Any]) -> dict[str, Any]:
        ended = run["ends"] if time.time() >= run["ends"] else None
        return {"id": run["id"], "key": run["key"], "began": run["began"], "ended": ended}

    def _note(self, what: str) -> None:
        self.asked[what] += 1
        if self.first_after_mark is None:
            self.first_after_mark = time.time()


async def serve(fleet: Fleet) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ", 2)
                lengths = [line.split(":", 1)[1] for line in lines if line.lower().startswith("content-length:")]
                body = await reader.readexactly(int(lengths[0])) if lengths else b""
                status, answer = fleet.answer(method, target, body)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n" % (status, len(answer)))
                writer.write(b"Content-Type: application/json\r\n\r\n" + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Fleet(Path(sys.argv[1]).read_bytes(), float(sys.argv[2]), float(sys.argv[3]))))
