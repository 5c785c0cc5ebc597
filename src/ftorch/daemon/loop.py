"""The daemon's loop: lead, tick until idle or told to stop, and leave without waiting for a create that blocks."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ftorch.core import log as logging
from ftorch.core.errors import FtorchError, UsageError
from ftorch.core.host import host_id
from ftorch.daemon.beside import Beside, Outlook
from ftorch.daemon.heap import share_heap
from ftorch.daemon.leave import Leaving
from ftorch.daemon.pulse import Pulse
from ftorch.daemon.watch import serve_health, serve_metrics
from ftorch.daemon.watchdog import Watchdog
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine, Tick
from ftorch.jobs.leader import leadership
from ftorch.jobs.meter import metered
from ftorch.jobs.rights import Alone, Rights, Shared
from ftorch.jobs.sign import Sign
from ftorch.manifest.credentials import secret_values
from ftorch.manifest.settings import load_settings
from ftorch.notify.teller import Teller
from ftorch.schedule.retrain import Retrain
from ftorch.schedule.scheduler import Scheduler
from ftorch.store import sql

if TYPE_CHECKING:
    from ftorch.daemon.health import HealthServer
    from ftorch.daemon.metrics import Metrics, Server

_BUSY_S = 1.0
_QUIET_S = 5.0
_SHORTEST_S = 0.02
_REST = 4.0

log = structlog.get_logger()


class Daemon:
    """Runs the engine until it is told to stop, or until nothing is left to do."""

    def __init__(self, context: Context, *, cwd: Path, until_idle: bool = False, once: bool = False) -> None:
        self._context = context
        self._cwd = cwd
        self._metrics: Metrics | None = None
        self._until_idle = until_idle
        self._once = once
        self._stop = threading.Event()
        self._leaving = Leaving(self._stop)
        self._sign = Sign(context.home)
        self._beside = Beside()
        self._pulse = Pulse(context.clock)

    def run(self) -> None:
        """Lead and work. Raises UsageError when another daemon leads this installation."""
        share_heap()
        redactor = logging.configure(file=self._context.home.daemon_log, secrets=secret_values(self._context.env))
        self._context = replace(self._context, redactor=redactor)
        try:
            self._work_while_needed()
        finally:
            logging.silence()

    def _work_while_needed(self) -> None:
        with self._leaving:
            while self._lead() and self._until_idle and not self._stop.is_set() and self._has_work():
                # A job that came in between the last tick and the end of our leadership found us leading and started
                # no daemon of its own: lead again.
                log.info("more work came in")

    def _lead(self) -> bool:
        """Lead and work until there is nothing to do; False when somebody else leads."""
        with leadership(self._context.home) as is_ours:
            if is_ours:
                self._work_watched()
            elif not self._until_idle:
                raise UsageError(
                    f"another ftorch daemon already works in {self._context.home.root}",
                    hint="run `ftorch daemon status`; one daemon is enough",
                )
            return is_ours

    def _work_watched(self) -> None:
        """Work under our sign and the watchdog, which also looks after the way out, with the numbers served."""
        self._sign.show(stays=False)
        servers: list[Server | HealthServer] = []
        try:
            self._serve(servers)
            # Only from here on nothing can keep us from working: `daemon start` waits for this.
            self._sign.show(stays=self._stays)
            with Watchdog(self._context.clock, self._context.store.is_stuck) as watchdog, self._rights() as rights:
                self._beside = self._others(rights)
                self._work(self._engine(rights), rights, watchdog)
        finally:
            for server in servers:
                server.stop()
            self._sign.take_down()

    @property
    def _stays(self) -> bool:
        return not self._until_idle and not self._once

    def _serve(self, servers: list[Server | HealthServer]) -> None:
        """A daemon that a submit has started goes on without: nobody would see it fail, and paid runs need it."""
        try:
            if (numbers := serve_metrics(self._context, self._cwd)) is not None:
                servers.append(numbers)
                self._metrics = numbers.metrics
            if (health := serve_health(self._context, self._cwd, self._pulse)) is not None:
                servers.append(health)
        except FtorchError as error:
            if not self._until_idle:
                raise
            log.warning("metrics are not served", error=error.message, hint=error.hint)

    def _others(self, rights: Rights) -> Beside:
        """Schedules and notices. Slow work is metered by nobody: it calls no provider."""
        channels = load_settings(self._cwd, self._context.env).notify
        retrain = Retrain(self._context)
        return Beside(Scheduler(self._context, rights, retrain), Teller(self._context, channels))

    def _engine(self, rights: Rights) -> Engine:
        if self._metrics is None:
            return Engine(self._context, rights=rights)
        providers = metered(self._context.open_provider, self._metrics)
        return Engine(replace(self._context, open_provider=providers), self._metrics, rights=rights)

    @contextmanager
    def _rights(self) -> Iterator[Rights]:
        """Where several daemons share a database, leases settle who does what; else our lock has settled it."""
        context = self._context
        if not context.store.is_shared:
            yield Alone()
            return
        owner = f"{host_id(context.home)}/{os.getpid()}/{context.ids.ulid(context.clock.now())}"
        shared = Shared(context.store, context.clock, owner, context.account)
        shared.start()
        try:
            yield shared
        finally:
            shared.close()

    def _work(self, engine: Engine, rights: Rights, watchdog: Watchdog) -> None:
        log.info("daemon started", home=str(self._context.home.root), pid=os.getpid())
        self._leaving.wakes(engine.progressed.set)
        self._beside.wakes(engine.progressed.set)
        while not self._stop.is_set():
            watchdog.feed()
            if self._pass(engine, rights):
                break
        if self._stop.is_set():
            self._leave(engine, rights)
        self._beside.close()
        engine.close()
        log.info("daemon is idle", pid=os.getpid())

    def _pass(self, engine: Engine, rights: Rights) -> bool:
        """One tick and the pause after it. True: there is nothing left to do."""
        started_s = self._context.clock.boot_s()
        self._stay_if_asked()
        engine.progressed.clear()
        # First: the job that a schedule starts now is moved in the same pass.
        beside = self._beside.tick()
        tick = self._tick(engine)
        if tick is None:
            # It has not gone round: one bad moment is nothing, and a minute of them is told by /healthz.
            self._stop.wait(_QUIET_S)
            return False
        self._pulse.beat()
        if self._until_idle and tick.is_idle(self._context.clock.now()) and not beside.open:
            return True
        # Asked at each pass: what an earlier one asked too early, this one has asked again.
        was_early = rights.asked_too_early()
        is_quiet = not tick.under_way and not self._beside.under_way and not engine.progressed.is_set()
        if self._once and not was_early and is_quiet:
            return True
        # Many steps end while one tick is computed: the next one waits, so that ticks take a fifth of one core at most.
        self._stop.wait(min(_BUSY_S, _REST * (self._context.clock.boot_s() - started_s)))
        if not self._stop.is_set():
            engine.progressed.wait(self._pause_s(tick, beside))
        return False

    def _stay_if_asked(self) -> None:
        """`ftorch daemon start` found us at work."""
        if self._until_idle and self._context.home.daemon_stay.exists():
            log.info("daemon stays", pid=os.getpid())
            self._until_idle = False
            self._sign.show(stays=True)

    def _pause_s(self, tick: Tick, beside: Outlook) -> float:
        """Until something is due; other processes add and cancel jobs meanwhile, and are not kept waiting long."""
        longest = _BUSY_S if tick.open_jobs or tick.under_way or beside.under_way else _QUIET_S
        due = min((at for at in (tick.next_at, beside.next_at) if at is not None), default=None)
        if due is None:
            return longest
        due_s = (due - self._context.clock.now()).total_seconds()
        return min(longest, max(due_s, _SHORTEST_S))

    def _tick(self, engine: Engine) -> Tick | None:
        """One pass; None when it raised: that is logged, and tried again after a pause."""
        began_s = self._context.clock.boot_s()
        try:
            return engine.tick()
        except Exception:  # the outer edge: one bad moment must not leave paid runs without anybody who looks
            log.exception("tick raised")
            return None
        finally:
            if self._metrics is not None:
                self._metrics.tick(self._context.clock.boot_s() - began_s)

    def _has_work(self) -> bool:
        return bool(self._context.store.read().scalar(sql.HAS_WORK))

    def _leave(self, engine: Engine, rights: Rights) -> None:
        """Exit at once. A thread may be inside a create that blocks for minutes: its intent is in the database, the
        next daemon finds the run, and waiting here would only be ended by a harder signal.

        What hangs on the way is ended by `Leaving`.
        """
        log.info("daemon leaves", pid=os.getpid())
        engine.halt()
        rights.close()
        self._context.store.close()
        self._sign.take_down()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
