"""The daemon in this process: what it writes down, and what it does without the numbers that somebody asked for."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import UsageError
from ftorch.daemon.loop import Daemon
from ftorch.daemon.metrics import HERE
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine, Tick
from ftorch.jobs.opening import open_context

KEY = "value-that-nobody-may-see"


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    env = {"FTORCH_HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path), "TOGETHER_API_KEY": KEY}
    opened = open_context(env, tmp_path)
    yield opened
    opened.store.close()


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def lines(context: Context) -> list[dict[str, Any]]:
    return [json.loads(line) for line in context.home.daemon_log.read_text().splitlines()]


def test_the_daemon_writes_its_own_log(context: Context, tmp_path: Path) -> None:
    Daemon(context, cwd=tmp_path, once=True).run()

    assert [line["event"] for line in lines(context)] == ["daemon started", "daemon is idle"]


def test_a_key_of_the_environment_is_not_in_the_log(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tick(_engine: object) -> None:
        raise RuntimeError(f"refused {KEY}")

    monkeypatch.setattr("ftorch.jobs.engine.Engine.tick", tick)
    daemon = Daemon(context, cwd=tmp_path)
    monkeypatch.setattr(daemon, "_stop", _AfterOne())

    with pytest.raises(StopIteration):
        daemon.run()

    assert "refused [redacted]" in context.home.daemon_log.read_text()
    assert KEY not in context.home.daemon_log.read_text()


class _OverError(BaseException):
    """The test has seen enough."""


@pytest.mark.parametrize(
    ("passes", "age_s"), [("raises " * 13, 65.0), ("well raises", 5.0), ("raises " * 13 + "well", 0.0)]
)
def test_the_loop_has_gone_round_when_its_tick_did_not_raise(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: str, age_s: float
) -> None:
    clock, outcomes = ManualClock(), iter(passes.split())

    def tick(engine: Engine) -> Tick:
        outcome = next(outcomes, None)
        if outcome is None:
            raise _OverError
        clock.advance(5)
        engine.progressed.set()
        if outcome == "raises":
            raise RuntimeError("database or disk is full")
        return Tick(open_jobs=1, rented=0, under_way=0, next_at=None)

    monkeypatch.setattr("ftorch.jobs.engine.Engine.tick", tick)
    daemon = Daemon(replace(context, clock=clock), cwd=tmp_path)
    monkeypatch.setattr(daemon, "_stop", _NeverWaits())

    with pytest.raises(_OverError):
        daemon.run()

    assert daemon._pulse.age_s() == age_s


class _NeverWaits:
    """An event that nobody sets."""

    def is_set(self) -> bool:
        return False

    def wait(self, _seconds: float) -> None:
        """At once."""


class _AfterOne:
    """An event that ends the loop at its first pause."""

    def is_set(self) -> bool:
        return False

    def wait(self, _seconds: float) -> None:
        raise StopIteration


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HERE, 0)) as server:
        yield server.getsockname()[1]


def test_a_daemon_in_a_terminal_says_that_it_cannot_serve_its_numbers(
    context: Context, tmp_path: Path, taken: int
) -> None:
    asked = replace(context, env={**context.env, "FTORCH_METRICS_PORT": str(taken)})

    with pytest.raises(UsageError, match="metrics cannot be served"):
        Daemon(asked, cwd=tmp_path).run()


def test_a_daemon_that_a_submit_has_started_goes_on_without_numbers(
    context: Context, tmp_path: Path, taken: int
) -> None:
    asked = replace(context, env={**context.env, "FTORCH_METRICS_PORT": str(taken)})

    Daemon(asked, cwd=tmp_path, until_idle=True).run()

    told = {line["event"]: line for line in lines(context)}
    assert "FTORCH_METRICS_PORT" in told["metrics are not served"]["hint"]
    assert "daemon is idle" in told


def test_the_numbers_are_served_while_it_leads(context: Context, tmp_path: Path) -> None:
    asked = replace(context, env={**context.env, "FTORCH_METRICS_PORT": "0"})

    Daemon(asked, cwd=tmp_path, once=True).run()

    [served] = [line for line in lines(context) if line["event"] == "metrics are served"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HERE, served["port"]), timeout=5)
