"""Expiring rights: leadership of an account, and claims of single pieces of work.

Time is the database's on PostgreSQL: two hosts whose clocks differ must agree on when a lease ends. On SQLite all
processes share one host, and `now` is its clock.

A lease can end while its holder is stopped or cut off. Whoever writes under a lease asks `holds` in the same change:
the token grows with every new owner, so a holder that wakes up late is found out.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ftorch.store import sql
from ftorch.store.base import Store
from ftorch.store.transaction import Transaction

_MICROSECOND = timedelta(microseconds=1)


def acquire(store: Store, name: str, owner: str, ttl: timedelta, *, now: datetime) -> int | None:
    """Take a lease that is free, has ended, or is the owner's own already. Returns its token; None: another has it."""
    token: int | None = store.write(
        lambda tx: tx.scalar(sql.ACQUIRE_LEASE, name=name, owner=owner, ttl_micro=ttl // _MICROSECOND, now=now)
    )
    return token


def renew(store: Store, name: str, owner: str, token: int, ttl: timedelta, *, now: datetime) -> bool:
    """Hold on for `ttl` from now. False: the lease has ended, whether or not another took it; acquire it anew."""
    return store.write(lambda tx: renew_in(tx, name, owner, token, ttl, now=now))


def release(store: Store, name: str, owner: str, token: int) -> bool:
    """Give a lease back at once. False: it was another's already, and nothing happened."""
    return store.write(lambda tx: release_in(tx, name, owner, token))


def claim(tx: Transaction, key: str, owner: str, ttl: timedelta, *, now: datetime) -> int | None:
    """Take one piece of work, named by its run key or job id. Returns a token; None: somebody is at it.

    Unlike `acquire` it refuses its own owner too: two threads of one process must not do the same work.
    """
    tx.run(sql.ADD_CLAIM, name=key)
    token: int | None = tx.scalar(sql.CLAIM, name=key, owner=owner, ttl_micro=ttl // _MICROSECOND, now=now)
    return token


def renew_in(tx: Transaction, name: str, owner: str, token: int, ttl: timedelta, *, now: datetime) -> bool:
    """As `renew`, for a lease or a claim, within a change."""
    ttl_micro = ttl // _MICROSECOND
    return tx.run(sql.RENEW_LEASE, name=name, owner=owner, token=token, ttl_micro=ttl_micro, now=now) == 1


def release_in(tx: Transaction, name: str, owner: str, token: int) -> bool:
    """As `release`, for a lease or a claim, within a change."""
    return tx.run(sql.RELEASE_LEASE, name=name, owner=owner, token=token) == 1


def holds(tx: Transaction, name: str, owner: str, token: int, *, now: datetime) -> bool:
    """True while the lease or claim is still the owner's. Asked in a change, it stays true until the commit."""
    return bool(tx.scalar(sql.HOLDS_LEASE, name=name, owner=owner, token=token, now=now))
