"""Who may do what where several daemons share one database: leadership of a provider's account, and claims of work.

Leases save work and calls; that no run is paid twice does not rest on them. A leader that slept and wakes up finds the
run's version changed, or commits its intent first and is then the only one that has sent it (DESIGN 7.4).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Protocol

import structlog

from ftorch.core.clock import Clock
from ftorch.core.errors import FtorchError
from ftorch.store import Store, leases

LEASE = timedelta(seconds=15)
"""Another daemon takes over from one that was killed within this time and one tick."""
_RENEWALS = 3
_TRY_S = 1.0
"""How often a leadership that another has is asked for: what may pass after a lease's end before somebody takes it."""

log = structlog.get_logger()


class Rights(Protocol):
    """What the engine asks before it acts."""

    def leads(self, provider: str, account: str | None = None) -> bool:
        """This process alone submits, observes and cancels in the account; None: in the one that it can open.

        Never waits.
        """
        ...

    def claimed(self, name: str) -> AbstractContextManager[bool]:
        """True for the length of the block when nobody else does this piece of work."""
        ...


class Alone:
    """One daemon, one database: the lock of the state folder has settled everything."""

    def leads(self, provider: str, account: str | None = None) -> bool:  # noqa: ARG002  always the same answer
        return True

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:  # noqa: ARG002  always the same answer
        yield True


class Shared:
    """Lease rows in the database, renewed by a thread of their own. `close` gives them back."""

    def __init__(
        self, store: Store, clock: Clock, owner: str, account: Callable[[str], str], ttl: timedelta = LEASE
    ) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._account = account
        self._ttl = ttl
        self._wanted: set[str] = set()
        self._names: dict[str, str] = {}
        self._held: dict[str, tuple[int, float]] = {}
        """Name -> token, and the boot time up to which it surely is ours."""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._renew_for_ever, name="ftorch-leases", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def leads(self, provider: str, account: str | None = None) -> bool:
        with self._lock:
            if provider not in self._wanted:
                self._wanted.add(provider)
                self._asked.set()
            ours = self._names.get(provider, "")
            return self._is_ours(ours) and ours == (f"lead/{provider}/{account}" if account else ours)

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        name = f"work/{name}"
        sure_until_s = self._clock.boot_s() + self._ttl.total_seconds()
        token = self._store.write(lambda tx: leases.claim(tx, name, self._owner, self._ttl, now=self._clock.now()))
        if token is None:
            yield False
            return
        with self._lock:
            self._held[name] = (token, sure_until_s)
        try:
            yield True
        finally:
            with self._lock:
                self._held.pop(name, None)
            leases.release(self._store, name, self._owner, token)

    def close(self) -> None:
        """Give everything back, so that another daemon need not wait. Closing twice is harmless."""
        self._over.set()
        self._asked.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            held, self._held = self._held, {}
        for name, (token, _) in held.items():
            leases.release(self._store, name, self._owner, token)

    def renew(self) -> None:
        """Renew what has lost a third of its time, and try for the leadership that is wanted; one round."""
        ttl_s = self._ttl.total_seconds()
        due_s = self._clock.boot_s() + ttl_s - ttl_s / _RENEWALS
        with self._lock:
            wanted, held = set(self._wanted), dict(self._held)
        for name, (token, sure_until_s) in held.items():
            if sure_until_s <= due_s:
                self._renew_one(name, token)
        for provider in sorted(wanted):
            self._try_to_lead(provider)

    def _renew_one(self, name: str, token: int) -> None:
        sure_until_s = self._clock.boot_s() + self._ttl.total_seconds()
        is_ours = leases.renew(self._store, name, self._owner, token, self._ttl, now=self._clock.now())
        with self._lock:
            if name not in self._held:
                return
            if is_ours:
                self._held[name] = (token, sure_until_s)
            else:
                del self._held[name]
                log.warning("lease lost", lease=name)

    def _try_to_lead(self, provider: str) -> None:
        name = f"lead/{provider}/{self._account(provider)}"
        with self._lock:
            self._names[provider] = name
            if self._is_ours(name):
                return
        sure_until_s = self._clock.boot_s() + self._ttl.total_seconds()
        token = leases.acquire(self._store, name, self._owner, self._ttl, now=self._clock.now())
        if token is not None:
            with self._lock:
                self._held[name] = (token, sure_until_s)
            log.info("leads", provider=provider, token=token)

    def _is_ours(self, name: str) -> bool:
        return name in self._held and self._clock.boot_s() < self._held[name][1]

    def _renew_for_ever(self) -> None:
        while not self._over.is_set():
            self._asked.clear()
            try:
                self.renew()
            except FtorchError as error:
                # What is held ends by itself; the engine stops acting on it in time.
                log.warning("leases cannot be renewed", code=error.code, error=error.message)
            self._asked.wait(_TRY_S)
