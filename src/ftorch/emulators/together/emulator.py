"""Together on 127.0.0.1: the routes of its fine-tuning API. Names of routes, for scripts and counters:

POST /v1/files                      declare content; 302 to where it is put, 409 where it is there already
PUT  /upload/{id}                   send it; no key
POST /v1/files/{id}/preprocess      let it be validated
GET  /v1/files   GET|DELETE /v1/files/{id}   GET /v1/files/{id}/content
GET  /v1/fine-tunes/models/limits   GET /v1/fine-tunes/models/supported
POST /v1/fine-tunes/estimate-price
POST /v1/fine-tunes                 make a job; the same body again makes a second one
GET  /v1/fine-tunes                 all jobs of the organisation, no filter, no pages
GET|DELETE /v1/fine-tunes/{id}      POST /v1/fine-tunes/{id}/cancel
GET  /v1/fine-tunes/{id}/events|metrics|checkpoints
GET  /v1/finetune/download          an archive; understands Range
GET  /v1/billing/usage              404 where it is not enabled
GET  /v3/whoami                     {"type": "project_api_key", "api_key", "organization": {"id", "name"}, "project"}
"""

from __future__ import annotations

from collections.abc import Mapping

from ftorch.emulators.server import Emulator, MovableClock, RefusedError, Reply, Request, json_reply
from ftorch.emulators.together.service import Service


class TogetherEmulator(Emulator):
    """The service on a port of its own."""

    name = "together"

    def __init__(self, clock: MovableClock, *, port: int = 0) -> None:
        super().__init__(clock, port=port)
        self.service = Service(clock)
        self.violations: list[str] = []
        """Requests that the service's own schemas refused; a test may ask that there were none."""

    def route(self, method: str, parts: tuple[str, ...], query: Mapping[str, str]) -> str:  # noqa: ARG002  the base class's name for it
        return f"{method} /" + "/".join(parts)

    def answer(self, request: Request) -> Reply:
        raise RefusedError(404, "not_found", f"no {request.route}")

    def refusal(self, status: int, code: str, message: str) -> Reply:
        return json_reply({"error": {"message": message, "type": code, "param": None, "code": code}}, status)
