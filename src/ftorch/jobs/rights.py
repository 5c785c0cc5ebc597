"""Who may do what where several daemons share one database: leadership of a provider's account, and claims of work.

Leases save work and calls; that no run is paid twice does not rest on them. A leader that slept and wakes up finds the
run's version changed, or commits its intent first and is then the only one that has sent it (DESIGN 7.4).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Protocol

import structlog

from ftorch.core.clock import Clock
from ftorch.core.errors import FtorchError
from ftorch.jobs.accounts import Accounts, Begin, in_a_thread
from ftorch.store import Store, Transaction, leases

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

    @property
    def beginnings(self) -> int:
        """How often this process has begun to lead: what was decided before was not done."""
        ...

    def asked_too_early(self) -> bool:
        """Since the last call a question came before its answer was known, or we began to lead: all is worth asking."""
        ...

    def claimed(self, name: str) -> AbstractContextManager[bool]:
        """True for the length of the block when nobody else does this piece of work."""
        ...

    def taken_for_s(self, name: str) -> float:
        """Seconds for which it is of no use to claim, because somebody else was found at it. Never waits."""
        ...

    def is_taken(self, name: str) -> bool:
        """Somebody is at this piece of work now. Asks the database."""
        ...

    def close(self) -> None:
        """Give everything back, so that another daemon need not wait. Closing twice is harmless."""
        ...


class Alone:
    """One daemon, one database: the lock of the state folder has settled everything."""

    def leads(self, provider: str, account: str | None = None) -> bool:  # noqa: ARG002  always the same answer
        return True

    @property
    def beginnings(self) -> int:
        return 0

    def asked_too_early(self) -> bool:
        return False

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:  # noqa: ARG002  always the same answer
        yield True

    def taken_for_s(self, name: str) -> float:  # noqa: ARG002  always the same answer
        return 0.0

    def is_taken(self, name: str) -> bool:  # noqa: ARG002  always the same answer
        return False

    def close(self) -> None:
        """There is nothing to give back."""


class Shared:
    """Lease rows in the database, renewed by a thread of their own."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        owner: str,
        account: Callable[[str], str],
        ttl: timedelta = LEASE,
        begin: Begin = in_a_thread,
    ) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._ttl = ttl
        self._wanted: set[str] = set()
        self._names: dict[str, str] = {}
        """Provider -> the lease of its account, once that is known."""
        self._settled: set[str] = set()
        """Providers about which a round has decided since they are wanted, or that could not be asked."""
        self._was_early = False
        self._beginnings = 0
        self._held: dict[str, tuple[int, float]] = {}
        """Name -> token, and the boot time up to which it surely is ours."""
        self._taken: dict[str, float] = {}
        """Claim of somebody else -> the boot time from which it may be free."""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._asked = threading.Event()
        self._accounts = Accounts(account, clock.boot_s, self._asked.set, begin)
        self._thread = threading.Thread(target=self._renew_for_ever, name="ftorch-leases", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def leads(self, provider: str, account: str | None = None) -> bool:
        with self._lock:
            if provider not in self._wanted:
                self._wanted.add(provider)
                self._asked.set()
            self._was_early |= provider not in self._settled
            ours = self._names.get(provider, "")
            return self._is_ours(ours) and ours == (f"lead/{provider}/{account}" if account else ours)

    @property
    def beginnings(self) -> int:
        return self._beginnings

    def asked_too_early(self) -> bool:
        with self._lock:
            was_early, self._was_early = self._was_early, False
            return was_early

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        claim, sure_until_s = f"work/{name}", self._sure_until_s()
        token, left_s = self._store.write(lambda tx: self._claim(tx, claim))
        with self._lock:
            if token is None:
                # It may end a moment later than it says, and is renewed while somebody is at it.
                self._taken[name] = self._clock.boot_s() + max(left_s, _TRY_S)
            else:
                self._taken.pop(name, None)
                self._held[claim] = (token, sure_until_s)
        if token is None:
            yield False
            return
        try:
            yield True
        finally:
            with self._lock:
                self._held.pop(claim, None)
            self._release({claim: token})

    def taken_for_s(self, name: str) -> float:
        with self._lock:
            return max(0.0, self._taken.get(name, 0.0) - self._clock.boot_s())

    def is_taken(self, name: str) -> bool:
        return leases.left_s(self._store.read(), f"work/{name}", now=self._clock.now()) > 0

    def close(self) -> None:
        self._over.set()
        self._asked.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            held, self._held = self._held, {}
        if held:
            self._release({name: token for name, (token, _) in held.items()})

    def renew(self) -> None:
        """One round in one commit: renew what has lost a third of its time, and try for the leadership that is wanted.

        Where an account is not known yet, it is asked for and not waited for: what is held must be renewed in time.
        """
        ttl_s = self._ttl.total_seconds()
        due_s = self._clock.boot_s() + ttl_s - ttl_s / _RENEWALS
        wanted = self._accounts_of_wanted()
        with self._lock:
            due = {name: token for name, (token, sure_until_s) in self._held.items() if sure_until_s <= due_s}
            self._names |= wanted
            missing = {provider: name for provider, name in wanted.items() if not self._is_ours(name)}
        sure_until_s = self._sure_until_s()
        if due or missing:
            kept, won = self._store.write(lambda tx: self._round(tx, due, missing))
            self._note_kept(due, kept, sure_until_s)
            self._note_won(missing, won, sure_until_s)
        with self._lock:
            self._settled = {one for one in self._wanted if one in wanted or self._accounts.has_failed(one)}

    def _accounts_of_wanted(self) -> dict[str, str]:
        """Provider -> the lease of its account, for those whose account is known."""
        with self._lock:
            asked = sorted(self._wanted)
        accounts = {provider: self._accounts.of(provider) for provider in asked}
        return {provider: f"lead/{provider}/{account}" for provider, account in accounts.items() if account is not None}

    def _round(
        self, tx: Transaction, due: Mapping[str, int], missing: Mapping[str, str]
    ) -> tuple[set[str], dict[str, int]]:
        now = self._clock.now()
        kept = {name for name, token in due.items() if leases.renew(tx, name, self._owner, token, self._ttl, now=now)}
        tokens = {name: leases.acquire(tx, name, self._owner, self._ttl, now=now) for name in missing.values()}
        return kept, {name: token for name, token in tokens.items() if token is not None}

    def _note_kept(self, due: Mapping[str, int], kept: set[str], sure_until_s: float) -> None:
        with self._lock:
            for name, token in due.items():
                # A claim whose work has ended meanwhile was given back: it is not held any more.
                if name not in self._held:
                    continue
                if name in kept:
                    self._held[name] = (token, sure_until_s)
                else:
                    del self._held[name]
                    log.warning("lease lost", lease=name)

    def _note_won(self, missing: Mapping[str, str], won: Mapping[str, int], sure_until_s: float) -> None:
        for provider, name in missing.items():
            if name in won:
                with self._lock:
                    self._held[name] = (won[name], sure_until_s)
                    self._beginnings += 1
                    self._was_early = True
                log.info("leads", provider=provider, token=won[name])

    def _claim(self, tx: Transaction, claim: str) -> tuple[int | None, float]:
        now = self._clock.now()
        token = leases.claim(tx, claim, self._owner, self._ttl, now=now)
        return token, leases.left_s(tx, claim, now=now)

    def _release(self, held: Mapping[str, int]) -> None:
        def change(tx: Transaction) -> None:
            for name, token in held.items():
                leases.release(tx, name, self._owner, token)

        self._store.write(change)

    def _sure_until_s(self) -> float:
        """Reckoned from before the database is asked: there it surely ends later."""
        return self._clock.boot_s() + self._ttl.total_seconds()

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
            except (
                Exception
            ):  # the outer edge of this thread: without it this daemon would lead nothing and say nothing
                log.exception("leases cannot be renewed")
            self._asked.wait(_TRY_S)
