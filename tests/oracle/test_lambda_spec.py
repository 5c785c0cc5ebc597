"""What the emulator answers and what the provider asks, held against the description of Lambda's API v1."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest

from crash.rented import Rented, slow
from ftorch.emulators.lambda_cloud.emulator import LAUNCH, TERMINATE, LambdaEmulator
from ftorch.emulators.lambda_cloud.service import Fate
from ftorch.emulators.server import Fault, Reply, Request
from oracle.lambda_spec import check_answer, check_body

ROUTES = {
    "GET /instance-types",
    "GET /instances",
    "GET /instances/{id}",
    "GET /ssh-keys",
    "POST /ssh-keys",
    "DELETE /ssh-keys/{id}",
    "GET /audit-events",
    LAUNCH,
    TERMINATE,
}
Exchange = tuple[Request, Reply]


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """Everything that is asked of emulators, with its answers."""
    kept: list[Exchange] = []
    handle = LambdaEmulator.handle

    def keep(self: LambdaEmulator, request: Request) -> tuple[Reply | None, float]:
        reply, wait_s = handle(self, request)
        if reply is not None:
            kept.append((request, reply))
        return reply, wait_s

    monkeypatch.setattr(LambdaEmulator, "handle", keep)
    return kept


def live(rented: Rented) -> None:
    """A dead machine, a full region, a lost terminate, and a training that succeeds."""
    rented.service.fates = [Fate(is_healthy=False)]
    rented.emulator.script(LAUNCH, Fault.NO_CAPACITY)
    rented.emulator.script(TERMINATE, Fault.DROP_AFTER)
    job = rented.submit()
    assert rented.finish(job).state == "succeeded"
    assert rented.faults(job, exact=False) == []
    now = rented.clock.now()
    events = rented.laptop.provider._api.events(now - timedelta(days=1), now, "charges")
    assert {event.action for event in events} == {"instance.launched", "instance.terminated"}


def test_every_answer_and_every_body_is_one_that_the_description_allows(
    tmp_path: Path, exchanges: list[Exchange]
) -> None:
    with slow(tmp_path) as rented:
        live(rented)

    for request, reply in exchanges:
        check_body(request.route, request.body)
        # Seen in the field for a machine that is ending already, and in no description.
        if b'"global/unknown"' not in reply.body:
            check_answer(request.route, reply.status, reply.body)
    assert {request.route for request, _ in exchanges} == ROUTES


def test_the_description_refuses_what_it_should() -> None:
    with pytest.raises(jsonschema.ValidationError):
        check_body(LAUNCH, b'{"region_name": "us-east-1", "instance_type_name": "gpu_1x_a10", "ssh_key_names": []}')
    with pytest.raises(jsonschema.ValidationError):
        check_answer("GET /instances", 200, b'{"data": [{"id": "1"}]}')
