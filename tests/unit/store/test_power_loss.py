"""Power that fails while SQLite writes, imitated on copies: whatever of the bytes that were under way has reached the
disk, what was acknowledged is there, nothing is torn, and the file is sound.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftorch.store import SqliteStore, Transaction
from unit.jobs import rows

_ACKNOWLEDGED, _UNDER_WAY = 12, 6
_SECTOR = 512
_PAGE = 4096
_TRIES = 30


@dataclass(frozen=True, slots=True)
class Disk:
    """The two files of a database as they are at one moment."""

    database: bytes
    wal: bytes

    @classmethod
    def of(cls, path: Path) -> Disk:
        return cls(path.read_bytes(), path.with_name(f"{path.name}-wal").read_bytes())

    def opened_in(self, folder: Path) -> SqliteStore:
        """The database as the next start finds it; what lay in shared memory is gone."""
        folder.mkdir()
        path = folder / "ftorch.db"
        path.write_bytes(self.database)
        path.with_name("ftorch.db-wal").write_bytes(self.wal)
        return SqliteStore.open(path)


Damage = Callable[[bytes, bytes, random.Random], bytes]
"""What is on the disk of a file that was `before` and was about to become `after`."""


def cut(before: bytes, after: bytes, chance: random.Random) -> bytes:
    """Written up to some byte."""
    at = chance.randint(_first_difference(before, after), len(after))
    return after[:at] + before[at:]


def cut_with_garbage(before: bytes, after: bytes, chance: random.Random) -> bytes:
    """Written up to some byte, and behind it what nobody wrote."""
    at = chance.randint(_first_difference(before, after), len(after))
    return after[:at] + chance.randbytes(chance.randint(1, 3 * _PAGE)) + before[at + 3 * _PAGE :]


def sectors(before: bytes, after: bytes, chance: random.Random) -> bytes:
    """Some sectors written and some not, in no order."""
    length = max(len(before), len(after))
    old, new = before.ljust(length, b"\0"), after.ljust(length, b"\0")
    starts = range(0, length, _SECTOR)
    return b"".join((new if chance.random() < 0.5 else old)[at : at + _SECTOR] for at in starts)


def _first_difference(before: bytes, after: bytes) -> int:
    same = min(len(before), len(after))
    return next((at for at in range(same) if before[at] != after[at]), same)


def put(store: SqliteStore, number: int) -> None:
    """A change of several rows, which belong together; it returns when it is acknowledged."""

    def change(tx: Transaction) -> None:
        # Long enough for a page of its own: a change is torn if only some of its pages are there.
        tx.insert_job(rows.job(id=f"job-{number:03d}", labels="x" * 3000), "{}")
        tx.insert_run(rows.run(key=f"run-{number:03d}", job_id=f"job-{number:03d}", detail="x" * 3000))
        tx.put_meta("last", str(number))

    store.write(change)


def numbers(store: SqliteStore) -> list[int]:
    """The changes that are there. Fails where a part of one is."""
    jobs = sorted(int(job.id[-3:]) for job in store.jobs())
    runs = sorted(int(run.key[-3:]) for job in store.jobs() for run in store.runs_of(job.id))
    assert jobs == runs
    assert store.meta("last") == str(jobs[-1])
    return jobs


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "ftorch.db")
    for number in range(_ACKNOWLEDGED):
        put(opened, number)
    yield opened
    opened.close()


def after_power_loss(disk: Disk, folder: Path) -> list[int]:
    opened = disk.opened_in(folder)
    try:
        assert opened.findings() == ()
        found = numbers(opened)
        put(opened, 999)
        assert numbers(opened) == [*found, 999]
        return found
    finally:
        opened.close()


def checkpointed(path: Path) -> None:
    """Everything in the WAL is written into the file; the next change begins the WAL anew."""
    with sqlite3.connect(path) as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
    connection.close()
    assert not busy


@pytest.mark.parametrize("damage", [cut, cut_with_garbage, sectors])
def test_what_was_acknowledged_survives_changes_that_were_under_way(
    store: SqliteStore, tmp_path: Path, damage: Damage
) -> None:
    before = Disk.of(store.path)
    for number in range(_ACKNOWLEDGED, _ACKNOWLEDGED + _UNDER_WAY):
        put(store, number)
    after = Disk.of(store.path)
    assert before.database == after.database

    lengths = set()
    for seed in range(_TRIES):
        wal = damage(before.wal, after.wal, random.Random(seed))
        found = after_power_loss(Disk(after.database, wal), tmp_path / f"try-{seed}")
        assert found == list(range(len(found)))
        lengths.add(len(found))

    assert min(lengths) >= _ACKNOWLEDGED
    assert len(lengths) > 1 or damage is sectors


@pytest.mark.parametrize("damage", [cut, sectors])
def test_what_was_acknowledged_survives_a_checkpoint_that_was_under_way(
    store: SqliteStore, tmp_path: Path, damage: Damage
) -> None:
    before = Disk.of(store.path)
    checkpointed(store.path)
    after = Disk.of(store.path)
    assert before.wal == after.wal
    assert before.database != after.database

    for seed in range(_TRIES):
        database = damage(before.database, after.database, random.Random(seed))
        found = after_power_loss(Disk(database, after.wal), tmp_path / f"try-{seed}")
        assert found == list(range(_ACKNOWLEDGED))


@pytest.mark.parametrize("damage", [cut, cut_with_garbage, sectors])
def test_what_was_acknowledged_survives_a_wal_that_was_begun_anew(
    store: SqliteStore, tmp_path: Path, damage: Damage
) -> None:
    checkpointed(store.path)
    before = Disk.of(store.path)
    put(store, _ACKNOWLEDGED)
    after = Disk.of(store.path)
    assert len(before.wal) == len(after.wal)
    assert before.wal != after.wal

    for seed in range(_TRIES):
        wal = damage(before.wal, after.wal, random.Random(seed))
        found = after_power_loss(Disk(after.database, wal), tmp_path / f"try-{seed}")
        assert found in ([*range(_ACKNOWLEDGED)], [*range(_ACKNOWLEDGED + 1)])


def test_the_writing_connection_waits_for_the_disk_at_a_commit(store: SqliteStore) -> None:
    assert store.write(lambda tx: tx.scalar("PRAGMA synchronous")) == 2
