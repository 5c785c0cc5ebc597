"""What only PostgreSQL has: a server that goes away, others that hold locks, a password."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ftorch.core.errors import MissingExtraError, StoreError
from ftorch.store import Transaction, open_store
from ftorch.store.migrate import migrations
from ftorch.store.place import redacted
from ftorch.store.postgres import PostgresStore, Session, as_postgres
from ftorch.store.rows import to_db
from postgres import Server, running_server
from unit.jobs import rows

_PASSWORD = "s3cret/w@rd"
_GONE = "cannot be reached|went away"


@pytest.fixture
def url(server: Server) -> str:
    return server.fresh()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    opened = PostgresStore.open(url)
    yield opened
    opened.close()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that a test may stop."""
    with running_server() as running:
        yield running


def put(store: PostgresStore, key: str) -> None:
    store.write(lambda tx: tx.put_meta(key, "x"))


def test_a_server_that_restarts_between_two_writes_is_not_noticed(own_server: Server) -> None:
    store = PostgresStore.open(own_server.fresh())
    put(store, "before")
    assert store.meta("before") == "x"

    own_server.stop()
    own_server.start()
    put(store, "after")

    assert (store.meta("before"), store.meta("after")) == ("x", "x")
    store.close()


def test_what_was_committed_survives_a_crash_of_the_server(own_server: Server) -> None:
    import signal

    store = PostgresStore.open(own_server.fresh())
    put(store, "before")

    own_server.stop(signal.SIGQUIT)
    own_server.start()

    assert store.meta("before") == "x"
    store.close()


def test_a_server_that_is_gone_is_said_in_words_within_seconds(own_server: Server) -> None:
    store = PostgresStore.open(own_server.fresh())
    own_server.stop()
    started = time.monotonic()

    with pytest.raises(StoreError, match="cannot be reached"):
        put(store, "a")
    with pytest.raises(StoreError, match="cannot be reached"):
        store.meta("a")

    assert time.monotonic() - started < 8
    store.close()


def test_a_server_that_is_there_and_says_nothing_is_given_up(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftorch.store.postgres._ANSWER_S", 0.3)
    monkeypatch.setattr("ftorch.store.postgres._CONNECT_S", 2)
    monkeypatch.setattr("ftorch.store.postgres._PAUSES_S", (0.05,))
    store = PostgresStore.open(own_server.fresh())
    put(store, "before")
    assert store.meta("before") == "x"

    with own_server.frozen():
        with pytest.raises(StoreError, match=_GONE):
            store.meta("before")
        with pytest.raises(StoreError, match=_GONE):
            put(store, "during")

    put(store, "after")
    assert store.meta("after") == "x"
    store.close()


def test_a_change_cut_off_before_its_commit_is_repeated(store: PostgresStore, server: Server) -> None:
    attempts: list[int] = []

    def change(tx: Transaction) -> None:
        attempts.append(1)
        tx.put_meta("once", str(len(attempts)))
        if len(attempts) == 1:
            server.run(f"SELECT pg_terminate_backend({tx.scalar('SELECT pg_backend_pid()')})")
        tx.put_meta("last", "x")

    store.write(change)

    assert (len(attempts), store.meta("once")) == (2, "2")


def test_a_change_that_goes_on_after_its_connection_was_lost_writes_nothing(
    store: PostgresStore, server: Server
) -> None:
    attempts: list[int] = []

    def change(tx: Transaction) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            server.run(f"SELECT pg_terminate_backend({tx.scalar('SELECT pg_backend_pid()')})")
            with pytest.raises(psycopg.OperationalError):
                tx.put_meta("lost", "x")
            with pytest.raises(psycopg.OperationalError):
                tx.put_meta("outside", "x")
        else:
            tx.put_meta("kept", "x")

    store.write(change)

    assert (store.meta("outside"), store.meta("kept")) == (None, "x")


def test_a_change_that_goes_on_after_a_refused_statement_harms_no_other(store: PostgresStore) -> None:
    gate = threading.Barrier(3)

    def stubborn(tx: Transaction) -> None:
        with suppress(psycopg.Error):
            tx.run("INSERT INTO nowhere VALUES (1)")

    def work(change: Any) -> None:
        gate.wait()
        with suppress(StoreError):
            store.write(change)

    for _ in range(10):
        changes = [stubborn, lambda tx: tx.put_meta("a", "x"), lambda tx: tx.put_meta("b", "x")]
        threads = [threading.Thread(target=work, args=(change,)) for change in changes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (store.meta("a"), store.meta("b")) == ("x", "x")
        store.write(lambda tx: tx.run("DELETE FROM meta"))


def test_a_lost_answer_to_a_commit_is_said_and_never_repeated(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []
    original = Session.execute

    def cut(session: Session, statement: str, *parameters: Any) -> Any:
        done = original(session, statement, *parameters)
        if statement == "COMMIT":
            session.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return done

    def change(tx: Transaction) -> None:
        attempts.append(1)
        tx.put_meta("kept", "or not")

    monkeypatch.setattr(Session, "execute", cut)
    with pytest.raises(StoreError, match="answer to a commit"):
        store.write(change)
    monkeypatch.undo()

    assert len(attempts) == 1
    put(store, "next")
    assert (store.meta("kept"), store.meta("next")) == ("or not", "x")


def test_a_deadlock_is_repeated_until_it_is_through(store: PostgresStore, url: str) -> None:
    put(store, "first")
    put(store, "second")
    first_is_locked, both_wait = threading.Event(), threading.Event()
    attempts: list[int] = []

    def other() -> None:
        with psycopg.connect(url) as connection:
            # It waits longer before it looks for a deadlock: ours is the one that must yield.
            connection.execute("SET deadlock_timeout = '5s'")
            connection.execute("UPDATE meta SET value = 'other' WHERE key = 'second'")
            first_is_locked.wait(10)
            connection.execute("UPDATE meta SET value = 'other' WHERE key = 'first'")
        both_wait.set()

    def change(tx: Transaction) -> None:
        attempts.append(1)
        tx.put_meta("first", "ours")
        first_is_locked.set()
        tx.put_meta("second", "ours")

    thread = threading.Thread(target=other)
    thread.start()
    time.sleep(0.2)
    store.write(change)
    thread.join()

    assert len(attempts) >= 2
    assert (store.meta("first"), store.meta("second")) == ("ours", "ours")


@pytest.mark.parametrize("error", [psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure])
def test_a_change_that_the_server_asks_to_repeat_is_repeated_more_than_once(
    store: PostgresStore, error: type[psycopg.Error]
) -> None:
    attempts: list[int] = []

    def change(tx: Transaction) -> None:
        attempts.append(1)
        tx.put_meta("attempt", str(len(attempts)))
        if len(attempts) < 4:
            raise error

    store.write(change)

    assert store.meta("attempt") == "4"


def test_what_is_never_through_is_said_in_the_end(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftorch.store.postgres._PAUSES_S", (0.01, 0.01))

    def change(tx: Transaction) -> None:
        raise psycopg.errors.DeadlockDetected

    with pytest.raises(StoreError, match="again and again"):
        store.write(change)


def test_text_sorts_by_its_bytes_whatever_the_language_of_the_server(store: PostgresStore) -> None:
    otherwise = (
        "SELECT COUNT(*) FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
    )

    assert store.read().scalar(otherwise) == 0


def test_a_database_that_somebody_keeps_locked_is_said_in_words(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftorch.store import postgres

    monkeypatch.setattr(postgres, "_SESSION", "SELECT set_config('lock_timeout', '100ms', false)")
    store = PostgresStore.open(url)
    with psycopg.connect(url) as holder:
        holder.execute(postgres._BEGIN.removeprefix("BEGIN; ").encode())

        with pytest.raises(StoreError, match="locked by another process"):
            put(store, "a")

    put(store, "a")
    assert store.meta("a") == "x"
    store.close()


def test_four_processes_that_open_an_empty_database_at_once_all_succeed(url: str) -> None:
    code = f"from ftorch.store import open_store; s = open_store({url!r}); print(s.schema_version()); s.close()"

    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate()[0].strip() for process in started]

    with psycopg.connect(url) as connection:
        applied = [row[0] for row in connection.execute("SELECT version FROM schema_version ORDER BY version")]
    assert len(set(answers)) == 1
    assert applied == [number for number, _ in migrations()]


def test_a_migration_that_fails_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ftorch.store.migrate.migrations", lambda: [(1, "CREATE TABLE one (id TEXT);\nCREATE TABLE one (id TEXT);\n")]
    )

    with pytest.raises(StoreError, match="already exists"):
        PostgresStore.open(url)

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('one'), to_regclass('schema_version')").fetchone() == (None, None)


def test_a_database_of_a_newer_version_is_refused(store: PostgresStore, url: str) -> None:
    store.write(lambda tx: tx.run("INSERT INTO schema_version (version) VALUES (99)"))

    with pytest.raises(StoreError, match="newer ftorch") as caught:
        PostgresStore.open(url)

    assert "upgrade" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url + "_missing", "there is no database"),
        (lambda url: url.replace("ftorch@", "nobody@"), "does not know this user"),
        (lambda url: "postgresql://ftorch@127.0.0.1:1/x", "cannot be reached"),
        (lambda url: "postgresql://ftorch:a%zz@127.0.0.1/x", "is not a URL"),
        (lambda url: "postgresql://ftorch@127.0.0.1:port/x", "is not a URL"),
        (lambda url: "postgresql://ftorch:a/b@127.0.0.1/x", "is not a URL"),
        (lambda url: "mysql://somewhere/x", "'mysql' is not a database that ftorch knows"),
        (lambda url: "host=127.0.0.1 password=secret", "'' is not a database that ftorch knows"),
    ],
)
def test_what_cannot_be_opened_is_said_in_words(url: str, change: Any, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        open_store(change(url))


def test_a_refused_password_is_said_and_not_shown(own_server: Server) -> None:
    own_server.run(f"CREATE ROLE guarded LOGIN PASSWORD '{_PASSWORD}'")
    rules = own_server.folder / "data" / "pg_hba.conf"
    rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    own_server.run("SELECT pg_reload_conf()")

    for password in ("wr0ng", None):
        with pytest.raises(StoreError, match="refused the user or the password") as caught:
            PostgresStore.open(own_server.url("postgres", user="guarded", password=password))

        assert "wr0ng" not in "".join(traceback.format_exception(caught.value, chain=True)).split("StoreError:")[-1]


@pytest.mark.parametrize(
    "written",
    [
        f"postgresql://me:{_PASSWORD}@127.0.0.1:1/x",
        f"postgresql://127.0.0.1:1/x?user=me&password={_PASSWORD}",
        f"postgresql://me:{_PASSWORD}%zz@127.0.0.1:1/x",
    ],
)
def test_a_password_is_in_no_error_and_no_repr(written: str) -> None:
    store = PostgresStore(written)

    with pytest.raises(StoreError) as caught:
        PostgresStore.open(written)

    shown = "".join([repr(store), store.name, str(caught.value), *traceback.format_exception(caught.value)])
    assert all(part not in shown for part in ("s3cret", "w@rd@", "w%40rd"))
    assert redacted(written).count("***") == 1


def test_a_server_that_is_too_old_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftorch.store.postgres._OLDEST_SERVER", 99)

    with pytest.raises(StoreError, match="ftorch needs 99 or newer"):
        PostgresStore.open(url)


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftorch.store.postgres", None)

    with pytest.raises(MissingExtraError) as caught:
        open_store("postgresql://127.0.0.1/x")

    assert caught.value.extra == "postgres"


def test_opening_sqlite_loads_no_client_of_postgres(tmp_path: Path) -> None:
    code = "import sys, pathlib; from ftorch.store import open_store; open_store(pathlib.Path(sys.argv[1]))"
    words = [sys.executable, "-c", f"{code}; print(*sys.modules)", str(tmp_path / "ftorch.db")]

    loaded = subprocess.run(words, capture_output=True, text=True, check=True)

    assert "psycopg" not in loaded.stdout.split()


def test_text_with_a_nul_is_kept_without_it(store: PostgresStore) -> None:
    store.write(lambda tx: tx.put_meta("a", "one\0two"))

    assert store.meta("a") == "one\ufffdtwo"


def test_a_word_of_an_enumeration_is_kept_as_its_value(store: PostgresStore) -> None:
    from ftorch.providers.base import RunState

    store.write(lambda tx: tx.insert_job(rows.job(state=RunState.RUNNING), "{}"))

    read = store.job("job-1")
    assert read is not None
    assert read.state == to_db(RunState.RUNNING)


def test_commits_are_flushed_to_disk_whatever_the_database_is_set_to(url: str, server: Server) -> None:
    server.run(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    store = PostgresStore.open(url)

    assert store.write(lambda tx: tx.scalar("SELECT current_setting('synchronous_commit')")) == "on"
    store.close()


def test_a_second_process_waits_until_the_first_has_committed(store: PostgresStore, url: str) -> None:
    other = PostgresStore.open(url)
    inside, seen = threading.Event(), list[str | None]()

    def slow(tx: Transaction) -> None:
        tx.put_meta("count", "1")
        inside.set()
        time.sleep(0.3)

    thread = threading.Thread(target=lambda: store.write(slow))
    thread.start()
    inside.wait(5)
    other.write(lambda tx: seen.append(tx.scalar("SELECT value FROM meta WHERE key = 'count'")))
    thread.join()

    assert seen == ["1"]
    other.close()


def test_statements_are_put_in_psycopgs_words() -> None:
    assert as_postgres("id LIKE :prefix || '%' AND a = CAST(:_b AS TEXT)") == (
        "id LIKE %(prefix)s || '%%' AND a = CAST(%(_b)s AS TEXT)"
    )
    assert "clock_timestamp()" in as_postgres("SELECT :now")
