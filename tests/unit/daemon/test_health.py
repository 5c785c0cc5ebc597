"""The daemon's health as a container's runtime asks for it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import StoreError, UsageError
from ftorch.daemon.health import HERE, HealthServer, health
from ftorch.daemon.pulse import Pulse
from ftorch.store import SqliteStore
from ftorch.store.sqlite import SqliteConnection
from unit.jobs.rows import job


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "ftorch.db")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(store: SqliteStore, clock: ManualClock) -> Iterator[HealthServer]:
    started = HealthServer(partial(health, store, Pulse(clock)), 0)
    yield started
    started.stop()


def asked(server: HealthServer, path: str = "/healthz") -> tuple[int, dict[str, Any]]:
    try:
        with urlopen(f"http://{HERE}:{server.port}{path}", timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_loop_that_goes_round_is_well(store: SqliteStore, server: HealthServer) -> None:
    store.write(lambda tx: tx.insert_job(job(), "{}"))

    status, told = asked(server)

    assert (status, told["status"], told["problem"], told["open_jobs"]) == (200, "ok", None, True)


def test_a_loop_that_stands_still_is_ill(server: HealthServer, clock: ManualClock) -> None:
    clock.advance(61)

    status, told = asked(server)

    assert (status, told["status"], told["seconds_since_tick"]) == (503, "ill", 61)
    assert "has not gone round for 61 seconds" in told["problem"]


def test_a_database_that_is_gone_is_ill(store: SqliteStore, server: HealthServer, tmp_path: Path) -> None:
    store.close()
    for file in tmp_path.iterdir():
        file.unlink()

    assert asked(server)[0] == 503


def refused(store: SqliteStore, monkeypatch: pytest.MonkeyPatch, *at_s: float) -> None:
    """The disk is full at these moments, whenever somebody wants to write."""

    def begin(_connection: SqliteConnection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteConnection, "begin", begin)
        for moment in at_s:
            patched.setattr("ftorch.store.writer.time", SimpleNamespace(monotonic=lambda now=moment: now))
            with pytest.raises(StoreError):
                store.write(lambda tx: tx.put_meta("a", "b"))


@pytest.mark.parametrize(("at_s", "status"), [((100.0,), 200), ((100.0, 130.0), 200), ((100.0, 130.0, 161.0), 503)])
def test_a_database_that_takes_no_change_for_a_minute_is_ill(
    store: SqliteStore, server: HealthServer, monkeypatch: pytest.MonkeyPatch, at_s: tuple[float, ...], status: int
) -> None:
    refused(store, monkeypatch, *at_s)

    found, told = asked(server)

    assert found == status
    assert ("has taken no change for 61 seconds" in str(told["problem"])) == (status == 503)


def test_a_database_that_takes_changes_again_is_well(
    store: SqliteStore, server: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(store, monkeypatch, 100.0, 200.0)

    store.write(lambda tx: tx.put_meta("a", "b"))

    assert asked(server)[0] == 200


def test_elsewhere_there_is_nothing(server: HealthServer) -> None:
    assert asked(server, "/")[0] == 404


def test_a_port_that_is_taken_is_said(server: HealthServer) -> None:
    with pytest.raises(UsageError, match="health cannot be served") as caught:
        HealthServer(lambda: None, server.port)  # type: ignore[arg-type,return-value]  # it is never asked

    assert "FTORCH_HEALTH_PORT" in str(caught.value.hint)
