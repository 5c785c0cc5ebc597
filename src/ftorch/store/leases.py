"""Expiring rights: leadership of an account, and claims of single pieces of work. All are asked within a change.

Time is the database's on PostgreSQL: two hosts whose clocks differ must agree on when a lease ends. On SQLite all
processes share one host, and `now` is its clock.

A lease can end while its holder is stopped or cut off, and nothing that is written asks whether it still holds: that
rests on the versions of rows (ADR 0011). The token grows with every new owner, so that a holder that wakes up late
neither renews nor gives back what is another's by now.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ftorch.store import sql
from ftorch.store.transaction import Transaction

_MICROSECOND = timedelta(microseconds=1)


def acquire(tx: Transaction, name: str, owner: str, ttl: timedelta, *, now: datetime) -> int | None:
    """Take a lease that is free, has ended, or is the owner's own already. Returns its token; None: another has it."""
    ttl_micro = ttl // _MICROSECOND
    token: int | None = tx.scalar(sql.ACQUIRE_LEASE, name=name, owner=owner, ttl_micro=ttl_micro, now=now)
    return token


def claim(tx: Transaction, key: str, owner: str, ttl: timedelta, *, now: datetime) -> int | None:
    """Take one piece of work, named by its run key or job id. Returns a token; None: somebody is at it.

    Unlike `acquire` it refuses its own owner too: two threads of one process must not do the same work.
    """
    tx.run(sql.ADD_CLAIM, name=key)
    token: int | None = tx.scalar(sql.CLAIM, name=key, owner=owner, ttl_micro=ttl // _MICROSECOND, now=now)
    return token


def renew(tx: Transaction, name: str, owner: str, token: int, ttl: timedelta, *, now: datetime) -> bool:
    """Hold a lease or a claim for `ttl` from now. False: it has ended, whether or not another took it."""
    ttl_micro = ttl // _MICROSECOND
    return tx.run(sql.RENEW_LEASE, name=name, owner=owner, token=token, ttl_micro=ttl_micro, now=now) == 1


def release(tx: Transaction, name: str, owner: str, token: int) -> bool:
    """Give a lease or a claim back at once. False: it was another's already, and nothing happened."""
    return tx.run(sql.RELEASE_LEASE, name=name, owner=owner, token=token) == 1


def left_s(tx: Transaction, name: str, *, now: datetime) -> float:
    """Seconds until a lease or a claim ends if nobody renews it; 0 where nobody has it."""
    micro: int | None = tx.scalar(sql.LEASE_LEFT, name=name, now=now)
    return max(0.0, (micro or 0) / 1_000_000)
