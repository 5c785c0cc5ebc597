"""A database of an earlier version is copied before it is brought up to date, and keeps what is in it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from ftorch.core.errors import StoreError
from ftorch.store import LedgerRow, SqliteStore, Store, Transaction, open_store, schedule_sql, sql
from ftorch.store.migrate import migrations
from ftorch.store.rows import columns
from ftorch.store.schedule_rows import VersionRow
from postgres import Server
from unit.costs.test_report import entry
from unit.jobs import rows

_BEFORE, _EARLIER, _NEWEST = (number for number, _ in migrations()[-3:])


def earlier(monkeypatch: pytest.MonkeyPatch, version: int = _EARLIER) -> None:
    """From here on this ftorch is the one that knew `version`."""
    known = [one for one in migrations() if one[0] <= version]
    monkeypatch.setattr("ftorch.store.migrate.migrations", lambda: known)


def filled(place: Path | str, monkeypatch: pytest.MonkeyPatch, version: int = _EARLIER) -> None:
    """A database as `version` has left it."""
    with monkeypatch.context() as before:
        earlier(before, version)
        store = open_store(place)
        store.write(lambda tx: tx.put_meta("key", "kept"))
        store.close()


def reopened(place: Path | str) -> Store:
    store = open_store(place)
    store.close()
    return store


def names(url: str, statement: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [str(row[0]) for row in connection.execute(statement.encode()).fetchall()]


def schemas(url: str) -> list[str]:
    return names(url, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'before%' ORDER BY nspname")


def test_an_upgrade_keeps_what_is_there(place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(place, monkeypatch)

    store = open_store(place)

    assert (store.schema_version(), store.meta("key")) == (_NEWEST, "kept")
    store.close()


def test_a_file_is_copied_before_the_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "ftorch.db", monkeypatch)
    reopened(tmp_path / "ftorch.db")

    earlier(monkeypatch)
    copy = SqliteStore.open(tmp_path / f"ftorch.before-{_NEWEST:04d}.db")

    assert (copy.schema_version(), copy.meta("key")) == (_EARLIER, "kept")
    copy.close()


def test_a_database_on_a_server_is_copied_before_the_upgrade(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.fresh()
    filled(url, monkeypatch)
    tables = names(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")

    reopened(url)

    copy = f"before_{_NEWEST:04d}"
    assert names(url, f"SELECT tablename FROM pg_tables WHERE schemaname = '{copy}' ORDER BY 1") == tables
    assert names(url, f"SELECT value FROM {copy}.meta") == ["kept"]
    assert names(url, f"SELECT MAX(version) FROM {copy}.schema_version") == [str(_EARLIER)]


def test_a_new_database_has_no_copy(server: Server) -> None:
    url = server.fresh()

    reopened(url)

    assert schemas(url) == []


def test_the_copy_of_the_upgrade_before_makes_way(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.fresh()
    filled(url, monkeypatch, _BEFORE)
    filled(url, monkeypatch, _EARLIER)

    reopened(url)

    assert schemas(url) == [f"before_{_NEWEST:04d}"]


def test_an_upgrade_that_fails_leaves_neither_copy_nor_change(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.fresh()
    filled(url, monkeypatch)
    wrong = [*migrations()[:-1], (_NEWEST, "ALTER TABLE runs ADD COLUMN one TEXT;\nALTER TABLE nothing ADD x TEXT;\n")]
    monkeypatch.setattr("ftorch.store.migrate.migrations", lambda: wrong)

    with pytest.raises(Exception, match="nothing"):
        reopened(url)

    assert schemas(url) == []
    assert names(url, "SELECT MAX(version) FROM schema_version") == [str(_EARLIER)]


def test_a_user_who_may_not_copy_is_told_what_to_do(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.fresh()
    filled(url, monkeypatch)
    name = url.rpartition("/")[2]
    server.run(f"CREATE ROLE guest_of_{name} LOGIN")
    with psycopg.connect(url) as connection:
        connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO guest_of_{name}".encode())
        connection.execute(f"GRANT ALL ON SCHEMA public TO guest_of_{name}".encode())

    with pytest.raises(StoreError, match="must be upgraded") as caught:
        reopened(server.url(name, user=f"guest_of_{name}"))

    assert "pg_dump" in (caught.value.hint or "")
    assert schemas(url) == []


def test_adapters_of_an_earlier_version_are_numbered_by_their_age(
    place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        earlier(before, 8)
        store = open_store(place)
        for job, adapter in (("job-a", "/a"), ("job-b", None), ("job-c", "/c")):
            row = rows.job(id=job, adapter=adapter)
            store.write(lambda tx, row=row: tx.insert_job(row, "{}"))  # type: ignore[misc]  # mypy cannot infer a default's type
        store.close()

    store = open_store(place)
    found = store.read().many(VersionRow, schedule_sql.VERSIONS)
    store.close()

    assert sorted((row.job_id, row.name, row.number, row.state) for row in found) == [
        ("job-a", "support", 1, "kept"),
        ("job-c", "support", 2, "kept"),
    ]


def test_a_fee_of_an_earlier_version_is_told_from_the_machines_by_its_words(
    place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "on cluster ses_1; scope: platform_fee, its machines are on the bill of your own cloud"
    fees = [entry(provider="anyscale", description=text) for text in (words, f"reversal: {words}")]
    others = [entry(provider="anyscale", description="on cluster ses_2"), entry(description=words)]
    with monkeypatch.context() as before:
        earlier(before, 10)
        store = open_store(place)
        for one in (*fees, *others):
            store.write(lambda tx, one=one: _add_without_scope(tx, one))  # type: ignore[misc]  # as above
        store.close()

    store = open_store(place)
    found = {one.source_ref: one.scope for one in store.ledger()}
    store.close()

    assert [found[one.source_ref] for one in fees] == ["platform_fee"] * 2
    assert [found[one.source_ref] for one in others] == ["run"] * 2


def _add_without_scope(tx: Transaction, row: LedgerRow) -> None:
    statement = sql.INSERT_LEDGER.replace(", scope)", ")").replace(", :scope)", ")")
    tx.run(statement, **{name: getattr(row, name) for name in columns(LedgerRow) if name not in ("id", "scope")})
