"""The part of the daemon that tells people: it makes notices of events, and carries notices until they are taken.

A delivery is noted before it is sent, and sent again when nobody took it, with longer pauses, for about three days. A
receiver may therefore get one twice, after a kill or a lost answer, and tells by its id.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from ftorch.core.errors import FtorchError
from ftorch.jobs.context import Context
from ftorch.manifest.notify import NoticeKind, Notify
from ftorch.notify.jobs import Gatherer
from ftorch.notify.messages import secrets_of
from ftorch.notify.wire import RefusedError, send
from ftorch.store import Transaction, schedule_sql
from ftorch.store.schedule_rows import DeliveryRow, NoticeRow

_LEASE = timedelta(seconds=60)
_FIRST_WAIT = timedelta(seconds=5)
_LONGEST_WAIT = timedelta(hours=3)
_SOON = timedelta(seconds=30)
_STALE = timedelta(days=3)
"""What nobody was there to tell for so long is no news any more."""
_MOST_ATTEMPTS = 36
"""With the pauses between them: about three days."""
_LOOKED = "notices/crossovers"
_EVENTS = "notices/events"

log = structlog.get_logger()

Pool = Callable[[int, str], Executor]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one pass saw."""

    under_way: int
    next_at: datetime | None
    open: int
    """Deliveries that are due soon: a daemon that would leave waits for them."""


class Teller:
    """Carries notices to the channels of `ftorch.toml`. `tick` never waits for a receiver."""

    def __init__(self, context: Context, channels: Sequence[Notify], pool: Pool = ThreadPoolExecutor) -> None:
        self._context = context
        self._channels = {channel.name: channel for channel in channels}
        self._gatherer = Gatherer(context)
        self._pool = pool
        self._executor: Executor | None = None
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self.progressed: Callable[[], object] = lambda: None
        for channel in channels:
            context.redactor.conceal(secrets_of(channel, context.env))

    def tick(self) -> Outlook:
        """One pass: events become notices, notices deliveries, and deliveries are sent. All but reading in a thread."""
        now = self._context.clock.now()
        if self._gatherer.has_news():
            self._submit(_EVENTS, self._gather)
        self._look_for_crossovers(now)
        reader = self._context.store.read()
        for notice in self._new(reader, now):
            self._submit(notice.id, partial(self._send_out, notice, now))
        rows = reader.many(DeliveryRow, schedule_sql.DELIVERIES_OPEN)
        found = [row for row in rows if row.channel in self._channels]
        for row in rows:
            if row.channel not in self._channels and row.next_at < now - _STALE:
                self._submit(row.id, partial(self._forget, row, now))
        for row in found:
            if row.next_at <= now:
                self._submit(row.id, partial(self._deliver, row))
        later = [row.next_at for row in found if row.next_at > now]
        soon = sum(row.next_at <= now + _SOON for row in found)
        return Outlook(self.under_way, min(later, default=None), soon + self.under_way)

    @property
    def under_way(self) -> int:
        """What is in the thread or waits for it."""
        with self._lock:
            return len(self._busy)

    def close(self) -> None:
        """Wait for what is being sent."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    def _gather(self) -> None:
        self._gatherer.gather()

    def _new(self, reader: Transaction, now: datetime) -> list[NoticeRow]:
        """What was not sent out yet. Where nobody is to be told, a daemon of another folder may know whom to tell."""
        found = reader.many(NoticeRow, schedule_sql.NOTICES_NEW)
        return [notice for notice in found if self._channels or notice.at < now - _STALE]

    def _send_out(self, notice: NoticeRow, now: datetime) -> None:
        """A delivery for each channel that wants it; of several daemons the first one decides."""
        is_old = notice.at < now - _STALE
        kind = NoticeKind(notice.kind)
        wanted = [channel for channel in self._channels.values() if channel.wants(kind) and not is_old]

        def change(tx: Transaction) -> None:
            if tx.run(schedule_sql.SENT_OUT, id=notice.id) != 1:
                return
            for channel in wanted:
                name = f"{notice.id}/{channel.name}"
                row = DeliveryRow(id=name, notice_id=notice.id, channel=channel.name, next_at=now)
                tx.insert(schedule_sql.ADD_DELIVERY, row)

        self._context.store.write(change)

    def _look_for_crossovers(self, now: datetime) -> None:
        """Once a day: what a fine-tune has saved grows by the day."""
        if self._context.store.meta(_LOOKED) == now.date().isoformat():
            return
        self._submit(_LOOKED, lambda: self._note_crossovers(now))

    def _note_crossovers(self, now: datetime) -> None:
        from ftorch.jobs.crossover import note_crossovers  # noqa: PLC0415  once a day, and large

        note_crossovers(self._context, now.date())
        self._context.store.write(lambda tx: tx.put_meta(_LOOKED, now.date().isoformat()))

    def _submit(self, key: str, call: Callable[[], None]) -> None:
        with self._lock:
            if key in self._busy:
                return
            self._busy.add(key)
            if self._executor is None:
                self._executor = self._pool(1, "ftorch-notify")
        self._executor.submit(self._guarded, key, call)

    def _guarded(self, key: str, call: Callable[[], None]) -> None:
        try:
            call()
        except FtorchError as error:
            log.warning("notices are held up", code=error.code, error=error.message)
        except Exception:  # the outer edge of this thread: news must not stop for one that is odd
            log.exception("telling raised", what=key)
        finally:
            with self._lock:
                self._busy.discard(key)
            self.progressed()

    def _deliver(self, row: DeliveryRow) -> None:
        """One attempt. It is noted first: a process that dies here leaves it to the next one, a minute later."""
        now = self._context.clock.now()
        noted = {"attempts": row.attempts + 1, "next_at": now + _LEASE}
        if not self._change(row, **noted):
            return
        notice = self._context.store.read().one(NoticeRow, schedule_sql.NOTICE, id=row.notice_id)
        fresh = self._context.store.read().one(DeliveryRow, schedule_sql.DELIVERY, id=row.id)
        assert notice is not None
        assert fresh is not None
        if refused := self._refusal(self._channels[row.channel], notice, now):
            self._refused(fresh, refused)
            return
        self._change(fresh, sent_at=self._context.clock.now(), ended_at=self._context.clock.now(), error="")
        log.info("notice delivered", notice=notice.id, kind=notice.kind, channel=row.channel)

    def _refusal(self, channel: Notify, notice: NoticeRow, now: datetime) -> RefusedError | None:
        """One request; returns why it was not taken."""
        try:
            send(channel, notice, self._context.env, now)
        except RefusedError as refused:
            return refused
        except FtorchError as error:
            # A variable that is not set: it is tried again, for a person may set it.
            return RefusedError(error.message)
        except Exception as error:  # noqa: BLE001  an attempt like any other, so that a last one comes; its words may be secret
            return RefusedError(f"could not be sent: {type(error).__name__}")
        return None

    def _forget(self, row: DeliveryRow, now: datetime) -> None:
        """Nobody looks after the channel any more: a daemon that knows it would have tried within hours."""
        if self._change(row, ended_at=now, error=f"{row.channel} is not in ftorch.toml any more"):
            log.warning("notice given up", delivery=row.id, attempts=row.attempts, error="its channel was removed")

    def _refused(self, row: DeliveryRow, refused: RefusedError) -> None:
        now = self._context.clock.now()
        if refused.is_final or row.attempts >= _MOST_ATTEMPTS:
            self._change(row, ended_at=now, error=refused.words)
            log.error("notice given up", delivery=row.id, attempts=row.attempts, error=refused.words)
            return
        ours = _FIRST_WAIT * (1 << min(row.attempts - 1, 20))
        # The longer of the two: a receiver that always asks for a second would use up three days in half a minute.
        wait = min(max(refused.wait, ours), _LONGEST_WAIT)
        self._change(row, next_at=now + wait, error=refused.words)
        log.warning("notice not taken", delivery=row.id, attempts=row.attempts, error=refused.words)

    def _change(self, row: DeliveryRow, **changes: object) -> bool:
        return self._context.store.write(lambda tx: tx.change("deliveries", row, **changes))
