"""The numbers as a scraper reads them: over HTTP, through the format's own parser."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ftorch.core.errors import UsageError
from ftorch.daemon.metrics import HERE, Metrics, Server
from ftorch.store import SqliteStore
from unit.jobs.rows import charge, job, run

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "ftorch.db")
    yield opened
    opened.close()


@pytest.fixture
def server(store: SqliteStore) -> Iterator[Server]:
    started = Server(Metrics(store), 0)
    yield started
    started.stop()


def scraped(server: Server) -> Samples:
    with urlopen(f"http://{HERE}:{server.port}/metrics", timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_jobs_and_runs_are_counted_by_state_as_they_stand_now(store: SqliteStore, server: Server) -> None:
    before = scraped(server)
    store.write(lambda tx: tx.insert_job(job(state="running"), "{}"))
    store.write(lambda tx: tx.insert_run(run(state="running", hold_micro=1_500_000)))

    after = scraped(server)

    assert before[("ftorch_jobs", (("state", "running"),))] == 0
    assert after[("ftorch_jobs", (("state", "running"),))] == 1
    assert after[("ftorch_runs", (("provider", "local"), ("state", "running")))] == 1
    assert after[("ftorch_held_usd", ())] == 1.5


def test_spend_is_the_sum_of_the_ledger_by_provider_and_kind(store: SqliteStore, server: Server) -> None:
    store.write(lambda tx: tx.add_entry(charge(source_ref="a", amount_micro=20_000)))
    store.write(lambda tx: tx.add_entry(charge(source_ref="b", amount_micro=20_000)))

    samples = scraped(server)

    assert samples[("ftorch_spend_usd", (("kind", "provisional"), ("provider", "local")))] == float(Decimal("0.04"))


def test_steps_calls_ticks_and_commits_are_counted(store: SqliteStore, server: Server) -> None:
    store.write(lambda tx: tx.put_meta("a", "b"))
    server.metrics.step("submit", "ok")
    server.metrics.step("submit", "ok")
    server.metrics.call("together", "submit", "rate_limited")
    server.metrics.tick(0.2)

    samples = scraped(server)

    call = (("operation", "submit"), ("outcome", "rate_limited"), ("provider", "together"))
    assert samples[("ftorch_steps_total", (("kind", "submit"), ("outcome", "ok")))] == 2
    assert samples[("ftorch_provider_calls_total", call)] == 1
    assert samples[("ftorch_ticks_total", ())] == 1
    assert samples[("ftorch_tick_seconds_sum", ())] == pytest.approx(0.2)
    assert samples[("ftorch_store_commits_total", ())] == 1
    assert samples[("ftorch_leading", ())] == 1


def test_a_database_that_cannot_be_read_is_a_gap_and_no_zero(tmp_path: Path) -> None:
    (tmp_path / "ftorch.db").write_text("this is no database, and it is long enough to be looked at" * 20)
    server = Server(Metrics(SqliteStore(tmp_path / "ftorch.db")), 0)

    samples = scraped(server)
    server.stop()

    assert samples[("ftorch_store_commits_total", ())] == 0
    assert not [name for name, _ in samples if name in ("ftorch_jobs", "ftorch_held_usd")]


def test_nobody_outside_this_machine_can_ask(server: Server) -> None:
    assert server.address == (HERE, server.port)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server((HERE, 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(UsageError, match=f"cannot be served on 127.0.0.1:{port}") as caught:
            Server(Metrics(SqliteStore(tmp_path / "ftorch.db")), port)

    assert "FTORCH_METRICS_PORT" in (caught.value.hint or "")


def test_the_port_is_free_again_after_the_end(tmp_path: Path) -> None:
    server = Server(Metrics(SqliteStore(tmp_path / "ftorch.db")), 0)
    server.stop()

    again = Server(Metrics(SqliteStore(tmp_path / "ftorch.db")), server.port)
    again.stop()
