"""Moving from SQLite to PostgreSQL: complete or not at all, and never two databases in use."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ftorch.core.errors import StoreError
from ftorch.store import EvaluationRow, EventRow, SqliteStore, Store, open_store
from ftorch.store import move as moving
from ftorch.store.check import check
from ftorch.store.postgres import PostgresStore
from postgres import Server
from unit.jobs import rows
from unit.store.test_store import NOW, entry

_RUNS = 30


@pytest.fixture
def url(server: Server) -> str:
    return server.fresh()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A database with something in every table that a move must get right."""
    store = SqliteStore.open(tmp_path / "ftorch.db")
    store.write(lambda tx: tx.put_meta("installation", "abc123"))
    store.write(lambda tx: tx.insert_job(rows.job(detail="tab\t, line\n, \\N, quote ' and ü"), '{"plan": 1}'))
    for number in range(1, _RUNS + 1):
        run = rows.run(key=f"ft-abc123-{number:026}", number=number, hold_micro=number)
        store.write(lambda tx, run=run: tx.insert_run(run))  # type: ignore[misc]  # mypy cannot infer a default's type
        event = EventRow(seq=0, job_id="job-1", run_key=run.key, at=NOW, event="sent", detail="")
        store.write(lambda tx, event=event: tx.add_event(event))  # type: ignore[misc]  # as above
    store.write(lambda tx: tx.add_entry(entry(amount_micro=2**40)))
    look = EvaluationRow(id="e", job_id="job-1", dataset="d", verdict=None, report="{}", created_at=NOW)
    store.write(lambda tx: tx.add_evaluation(look))
    store.write(lambda tx: tx.book_call("call", NOW))
    store.close()
    return tmp_path / "ftorch.db"


def everything(store: Store) -> object:
    report = check(store)
    looks = (store.jobs(), store.runs_of("job-1"), store.events_of("job-1"), store.ledger(), store.plan_text("job-1"))
    return report.rows, report.ledger_micro, report.installation, looks


def in_use(place: Path | str) -> bool:
    try:
        open_store(place).close()
    except StoreError:
        return False
    return True


def test_everything_is_there_after_a_move(source: Path, url: str) -> None:
    store = SqliteStore.open(source)
    before = everything(store)
    store.close()

    moved = moving.move(source, url)

    target = open_store(url)
    assert everything(target) == before
    assert {proof.table: proof.total_micro for proof in moved.tables if proof.total_micro is not None} == {
        "runs": _RUNS * (_RUNS + 1) // 2,
        "ledger": 2**40,
    }
    target.close()


def test_numbers_go_on_where_they_were(source: Path, url: str) -> None:
    moving.move(source, url)

    target = open_store(url)
    event = EventRow(seq=0, job_id="job-1", run_key=None, at=NOW, event="next", detail="")
    target.write(lambda tx: tx.add_event(event))
    target.write(lambda tx: tx.add_entry(entry(revision=2)))

    assert target.events_of("job-1")[-1].seq == _RUNS + 1
    assert [row.id for row in target.ledger()] == [1, 2]
    target.close()


def test_a_moved_database_names_the_new_place_and_the_key(source: Path, server: Server) -> None:
    url = server.fresh().replace("ftorch@", "ftorch:s3cret@")
    moving.move(source, url)

    with pytest.raises(StoreError, match="was moved to postgresql://ftorch:\\*\\*\\*@") as caught:
        SqliteStore.open_existing(source)

    assert "url under [store] in ftorch.toml" in (caught.value.hint or "")
    assert b"s3cret" not in source.read_bytes()


def test_a_process_that_has_the_old_database_open_cannot_write_there(source: Path, url: str) -> None:
    store = SqliteStore.open(source)
    store.write(lambda tx: tx.put_meta("a", "b"))

    moving.move(source, url)

    with pytest.raises(StoreError, match="was moved to"):
        store.write(lambda tx: tx.put_meta("late", "x"))
    with pytest.raises(StoreError, match="was moved to"):
        store.write(lambda tx: tx.update_run(store.runs_of("job-1")[0], state="running"))
    store.close()


def test_nobody_writes_to_the_old_database_during_a_move(
    source: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftorch.store.sqlite._BUSY_S", 0.05)
    refused: list[str] = []
    original = moving._copy_table

    def meanwhile(*words: object) -> moving.TableProof:
        store = SqliteStore(source)
        with pytest.raises(StoreError, match="locked") as caught:
            store.write(lambda tx: tx.put_meta("late", "x"))
        refused.append(caught.value.message)
        store.close()
        return original(*words)  # type: ignore[arg-type]  # passed through as it came

    monkeypatch.setattr(moving, "_copy_table", meanwhile)

    moving.move(source, url)

    assert refused


def test_a_target_that_is_not_empty_is_refused(source: Path, url: str) -> None:
    target = open_store(url)
    target.write(lambda tx: tx.put_meta("installation", "other1"))

    with pytest.raises(StoreError, match="is not empty: it has rows in meta"):
        moving.move(source, url)

    assert in_use(source)
    assert target.meta("installation") == "other1"
    target.close()


def test_moving_again_elsewhere_is_refused(source: Path, url: str, server: Server) -> None:
    moving.move(source, url)

    with pytest.raises(StoreError, match="was moved to"):
        moving.move(source, server.fresh())
    with pytest.raises(StoreError, match="was moved to"):
        moving.move(source, url)


def test_a_copy_that_differs_is_not_kept(source: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = PostgresStore.open(url)
    original.write(
        lambda tx: tx.run(
            "CREATE FUNCTION skew() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN NEW.amount_micro = NEW.amount_micro + 1; RETURN NEW; END$$"
        )
    )
    original.write(
        lambda tx: tx.run("CREATE TRIGGER skew BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION skew()")
    )

    with pytest.raises(StoreError, match="copy of table ledger differs"):
        moving.move(source, url)

    assert in_use(source)
    assert set(check(original).rows.values()) == {0}
    original.close()


@pytest.mark.parametrize(
    ("moment", "source_in_use", "target_rows"),
    [
        ("_copy_table", True, 0),
        ("_set_next_number", True, 0),
        ("_seal", True, 1),
        ("_open_target", False, 1),
    ],
)
def test_a_killed_move_leaves_one_database_in_use_or_none_and_is_done_by_the_next(
    source: Path, url: str, moment: str, source_in_use: bool, target_rows: int
) -> None:
    code = (
        "import os, signal, sys, pathlib\n"
        "from ftorch.store import move\n"
        f"setattr(move, {moment!r}, lambda *_: os.kill(os.getpid(), signal.SIGKILL))\n"
        "move.move(pathlib.Path(sys.argv[1]), sys.argv[2])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(source), url], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert in_use(source) == source_in_use
    target = PostgresStore.open(url, may_be_arriving=True)
    assert len(target.jobs()) == target_rows
    target.close()
    assert in_use(url) == (target_rows == 0)

    moving.move(source, url)

    assert (in_use(source), in_use(url)) == (False, True)
    reopened = open_store(url)
    assert len(reopened.runs_of("job-1")) == _RUNS
    reopened.close()


def test_only_postgres_can_be_moved_to(source: Path) -> None:
    with pytest.raises(StoreError, match="only PostgreSQL"):
        moving.move(source, "mysql://127.0.0.1/x")


def test_a_source_that_is_not_there_is_not_made(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError, match="no database"):
        moving.move(tmp_path / "missing.db", url)

    assert not (tmp_path / "missing.db").exists()
