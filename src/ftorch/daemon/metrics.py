"""The daemon's numbers for Prometheus. Imported only where they are asked for: they need the extra `metrics`.

What happens is counted when it happens; what stands in the database is read when somebody scrapes, so that the numbers
agree with `ftorch jobs` and cost nothing in between.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ftorch.core.errors import StoreError, UsageError
from ftorch.core.money import MICRO
from ftorch.jobs.states import JobState
from ftorch.store import Store, sql

HERE = "127.0.0.1"
"""Whoever scrapes from elsewhere puts a proxy with a password in front: the numbers say what a company spends."""
_SLOWEST_S = 5.0

log = structlog.get_logger()


class Metrics:
    """Everything that is counted: the engine's meter, the loop's ticks, and the state of the database."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self._tick_seconds = Histogram("ftorch_tick_seconds", "One pass over the rows.", registry=self.registry)
        self._ticks = self._counter("ftorch_ticks_total", "Passes over the rows.")
        self._steps = self._counter("ftorch_steps_total", "Steps that have ended.", "kind", "outcome")
        self._calls = self._counter(
            "ftorch_provider_calls_total", "Calls of the provider contract.", "provider", "operation", "outcome"
        )
        # Only the daemon that leads serves: an installation whose sum over its scrapes is not 1 has a problem.
        Gauge("ftorch_leading", "1 while this daemon moves jobs.", registry=self.registry).set(1)
        self.registry.register(_Stored(store))

    def step(self, kind: str, outcome: str) -> None:
        """See `Meter.step`."""
        self._steps.labels(kind, outcome).inc()

    def call(self, provider: str, operation: str, outcome: str) -> None:
        """See `Meter.call`."""
        self._calls.labels(provider, operation, outcome).inc()

    def tick(self, seconds: float) -> None:
        """The loop has passed over the rows once, well or not."""
        self._ticks.inc()
        self._tick_seconds.observe(seconds)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, registry=self.registry)


class Server:
    """Answers on 127.0.0.1 from one thread, one scrape after the other: a scrape reads the database."""

    def __init__(self, metrics: Metrics, port: int) -> None:
        """Answers at once; port 0 takes a free one. Raises UsageError when the port is taken."""
        self.metrics = metrics
        try:
            self._http = make_server(HERE, port, make_wsgi_app(metrics.registry), WSGIServer, _Silent)
        except OSError as error:
            raise UsageError(
                f"the metrics cannot be served on {HERE}:{port}: {error.strerror or error}",
                hint="choose another port: FTORCH_METRICS_PORT, or [daemon] metrics_port in ftorch.toml",
            ) from error
        self.address = (str(self._http.server_address[0]), self._http.server_port)
        self._thread = threading.Thread(target=self._answer, name="ftorch-metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self.address[1]

    def stop(self) -> None:
        """Stop answering and give the port back."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _answer(self) -> None:
        self._http.serve_forever(poll_interval=0.1)


class _Silent(WSGIRequestHandler):
    timeout = _SLOWEST_S  # a scraper that connects and says nothing must not keep the next one out

    def log_message(self, *_: Any) -> None:
        """Every scrape would be a line."""


class _Stored(Collector):
    """What the database holds, read at every scrape by one statement per metric."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """No numbers where the database cannot be read: a gap tells, a zero would lie."""
        yield CounterMetricFamily("ftorch_store_commits", "Commits of this process.", self._store.commits)
        try:
            yield from _families(self._store)
        except StoreError as error:
            log.warning("the numbers cannot be read", error=error.message)


def _families(store: Store) -> list[Metric]:
    jobs = GaugeMetricFamily("ftorch_jobs", "Jobs by state.", labels=["state"])
    found = dict.fromkeys((state.value for state in JobState), 0) | dict(store.counts(sql.COUNT_JOBS))
    for state, count in found.items():
        jobs.add_metric([state], count)
    runs = GaugeMetricFamily("ftorch_runs", "Runs by state and provider.", labels=["state", "provider"])
    for state, provider, count in store.counts(sql.COUNT_RUNS):
        runs.add_metric([state, provider], count)
    [(held_micro,)] = store.counts(sql.HELD)
    held = GaugeMetricFamily("ftorch_held_usd", "Held for runs whose cost is not known yet.", _usd(held_micro))
    spend = GaugeMetricFamily("ftorch_spend_usd", "Sum of the ledger.", labels=["provider", "kind"])
    for provider, kind, micro in store.counts(sql.SPEND_BY_KIND):
        spend.add_metric([provider, kind], _usd(micro))
    return [jobs, runs, held, spend]


def _usd(micro: int) -> float:
    """A float is what the format has; the ledger keeps the exact amount."""
    return float(micro / MICRO)
