"""PostgreSQL as the store: for several hosts that share one installation. Imported only when a URL asks for it.

Writers take one advisory lock per group, so that changes of all processes follow one another as they do on SQLite: a
change may decide on what it reads (budgets), and events are visible in the order of their numbers.
"""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row, tuple_row

from ftorch.core.clock import Clock, Reading
from ftorch.core.errors import FtorchError, StoreError
from ftorch.store import sql
from ftorch.store.base import Store
from ftorch.store.migrate import migrate_postgres, postgres_version
from ftorch.store.place import is_readable, redacted
from ftorch.store.transaction import IntegrityError, Transaction
from ftorch.store.writer import Writer

if TYPE_CHECKING:
    from ftorch.store.writer import Group, Outcome

_OLDEST_SERVER = 13
_CONNECT_S = 5
_LOCK_S = 10
_STATEMENT_S = 30
_ANSWER_S = 40.0
_WRITERS_LOCK = 0x66746F726368  # "ftorch": one number for all its processes in one database
_BEGIN = f"BEGIN; SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"
# Nothing may wait for ever, a writer that hangs must give up the lock, and a commit must survive a power cut.
_SESSION = (
    f"SELECT set_config('lock_timeout', '{_LOCK_S}s', false), "
    f"set_config('statement_timeout', '{_STATEMENT_S}s', false), "
    f"set_config('idle_in_transaction_session_timeout', '{_STATEMENT_S}s', false), "
    "set_config('default_transaction_isolation', 'read committed', false), "
    "CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') "
    "THEN set_config('synchronous_commit', 'on', false) END"
)
_KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
_BATCH = 2000
_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_DEADLOCK, _SERIALISATION = "40P01", "40001"
_CLOCK = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]\w*)")

T = TypeVar("T")


class _UnreachableError(StoreError):
    """No connection: nothing was asked of the database yet."""


class _Connection(psycopg.Connection[DictRow]):
    """Gives up on a server that keeps the connection and says nothing: its own timeouts cannot fire then."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        limit_s = timeout or _ANSWER_S
        try:
            return super().wait(gen, interval, limit_s)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


class Session:
    """One connection, opened when it is needed. Used by one thread; `close` may come from another."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._raw: psycopg.Connection[DictRow] | None = None

    @property
    def in_transaction(self) -> bool:
        return (
            self._raw is not None
            and not self._raw.closed
            and self._raw.info.transaction_status != TransactionStatus.IDLE
        )

    @property
    def is_lost(self) -> bool:
        """True when the server, or the way to it, went away."""
        return self._raw is None or self._raw.closed

    @property
    def has_failed(self) -> bool:
        """True when a statement of the transaction failed: it can only be rolled back."""
        return self._raw is not None and self._raw.info.transaction_status == TransactionStatus.INERROR

    def open(self) -> psycopg.Connection[DictRow]:
        """The connection, made anew when there is none or it was lost."""
        if self._raw is None or self._raw.closed:
            self._raw = _connect(self._url)
        return self._raw

    def begin(self) -> None:
        self.open()
        self.run(_BEGIN)

    def execute(self, statement: str, parameters: Mapping[str, Any] | None = None, /) -> psycopg.Cursor[DictRow]:
        """Never opens a connection: the rest of a change must not go on outside its transaction."""
        if self._raw is None:
            raise psycopg.OperationalError("the connection is closed")
        if not parameters:
            return self._raw.execute(statement, prepare=False)
        return self._raw.execute(as_postgres(statement), {n: kept(v) for n, v in parameters.items()})

    def run(self, statement: str, /) -> None:
        self.execute(statement)

    def scalar(self, statement: str, /) -> object:
        for row in self.execute(statement).fetchall():
            return next(iter(row.values()))
        return None

    def copy_in(self, table: str, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Append rows in one stream."""
        with self.open().cursor().copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as stream:
            for row in rows:
                stream.write_row([kept(value) for value in row])

    def stream(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement without holding them all; only within a transaction."""
        with self.open().cursor(name="stream", row_factory=tuple_row) as cursor:
            cursor.itersize = _BATCH
            yield from cursor.execute(statement)

    def commit(self) -> None:
        """Raises StoreError when nobody can tell whether the transaction was kept."""
        if self.is_lost:
            raise psycopg.OperationalError("the connection was lost before the commit")
        try:
            done = self.execute("COMMIT")
        except psycopg.OperationalError as error:
            if not self.is_lost:
                raise
            raise StoreError(
                f"the answer to a commit in {redacted(self._url)} was lost: the change may be kept or not",
                hint="look with `ftorch jobs` before you do it again",
            ) from error
        if done.statusmessage != "COMMIT":
            raise psycopg.InternalError(f"the server answered {done.statusmessage} to a commit")

    def rollback(self) -> None:
        # A lost connection is rolled back by the server.
        if self.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()

    def __del__(self) -> None:
        # A thread that read and ended takes its session with it; psycopg warns about connections that nobody closed.
        self.close()


class _ReadingSession(Session):
    """Every statement is its own transaction, so one that met a lost connection is simply asked again."""

    def execute(self, statement: str, parameters: Mapping[str, Any] | None = None, /) -> psycopg.Cursor[DictRow]:
        with translated(self._url):
            self.open()
            try:
                return super().execute(statement, parameters)
            except psycopg.OperationalError:
                if not self.is_lost:
                    raise
            self.open()
            return super().execute(statement, parameters)


class _ChangeRaisedError(Exception):
    """One change of a group raised by itself: the others must be carried out without it."""


class _PostgresWriter(Writer[Session]):
    """Repeats a group that the server undid, or that it never heard of, for about three seconds."""

    def _carry_out(self, connection: Session, group: Group[Session]) -> list[Outcome]:
        for pause_s in _PAUSES_S:
            try:
                return self._carry_out_once(connection, group)
            except (psycopg.Error, _UnreachableError) as error:
                if not _may_be_repeated(connection, error):
                    raise
            time.sleep(pause_s)
        return self._carry_out_once(connection, group)

    def _carry_out_once(self, connection: Session, group: Group[Session]) -> list[Outcome]:
        """Without savepoints, which are two of three round trips; with them where a change turns out to raise."""
        try:
            return self._carry_out_all(connection, group)
        except _ChangeRaisedError:
            return super()._carry_out(connection, group)

    def _carry_out_all(self, connection: Session, group: Group[Session]) -> list[Outcome]:
        try:
            connection.begin()
            outcomes: list[Outcome] = [(future, self._value(connection, change), None) for change, future in group]
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        self.commits += 1
        return outcomes

    def _value(self, connection: Session, change: Callable[[Session], Any]) -> Any:
        try:
            value = change(connection)
        except BaseException as error:
            if self._undoes_group(connection, error):
                raise
            raise _ChangeRaisedError from error
        if connection.has_failed:
            # The change went on after a statement that failed: the server keeps nothing of the group any more.
            raise _ChangeRaisedError
        return value

    def _undoes_group(self, connection: Session, error: BaseException) -> bool:
        return super()._undoes_group(connection, error) or _was_chosen_to_yield(error)


class PostgresStore(Store):
    """One database on a server. Artifacts and frozen rows stay on the host that has them."""

    is_shared = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = threading.local()
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._writer = _PostgresWriter(self._writing_session, (psycopg.Error, StoreError))

    @classmethod
    def open(cls, url: str, *, may_be_arriving: bool = False) -> Self:
        """Connect, make or upgrade the schema when needed. `may_be_arriving` is for the move that is under way.

        Raises StoreError for a server that cannot be reached or is too old, a refused password, a missing database, a
        newer schema, or a move into it that was not finished.
        """
        store = cls(url)
        session = Session(url)
        try:
            with translated(url):
                session.open()
                migrate_postgres(session, store.name)
        finally:
            session.close()
        if not may_be_arriving and store.meta(sql.ARRIVING) is not None:
            store.close()
            raise StoreError(
                f"a move into {store.name} was not finished", hint="run `ftorch db move` again, from the same folder"
            )
        return store

    def __repr__(self) -> str:
        return f"PostgresStore({self.name!r})"

    @property
    def name(self) -> str:
        return redacted(self._url)

    def write(self, change: Callable[[Transaction], T]) -> T:
        with translated(self._url):
            result: T = self._writer.run(lambda session: change(Transaction(session)))
            return result

    def is_stuck(self, seconds: float) -> bool:
        return self._writer.is_stuck(seconds)

    def refused_for_s(self) -> float:
        return self._writer.refused_for_s

    @property
    def commits(self) -> int:
        return self._writer.commits

    def read(self) -> Transaction:
        return Transaction(self._reader())

    def reading(self, clock: Clock) -> Reading:
        """The server's clock: those of the hosts differ."""
        return Reading("server", self.read().scalar(sql.NOW, now=clock.now()) / 1_000_000)

    def schema_version(self) -> int:
        return postgres_version(self._reader())

    def close(self) -> None:
        self._writer.close()
        for session in list(self._sessions):
            session.close()

    def _reader(self) -> _ReadingSession:
        session: _ReadingSession | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = _ReadingSession(self._url)
            self._sessions.add(session)
        return session

    def _writing_session(self) -> Session:
        return Session(self._url)


@cache
def as_postgres(statement: str) -> str:
    """A statement with parameters in psycopg's words. `:now` becomes the server's clock: hosts' clocks differ."""
    return _PARAMETER.sub(_parameter, statement.replace("%", "%%"))


def _parameter(found: re.Match[str]) -> str:
    return _CLOCK if found[1] == "now" else f"%({found[1]})s"


def kept(value: object) -> object:
    """PostgreSQL keeps no NUL in text, and a run's last words may hold one."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


def _connect(url: str) -> psycopg.Connection[DictRow]:
    if not is_readable(url):
        raise _unreadable(url)
    try:
        options = {**_KEEPALIVE, "connect_timeout": _CONNECT_S, "client_encoding": "utf8"}
        # autocommit: BEGIN and COMMIT are ours, and a reader's statements see the newest commit.
        raw = _Connection.connect(url, autocommit=True, row_factory=dict_row, **options)  # type: ignore[arg-type]  # libpq's options are not typed one by one
    except psycopg.ProgrammingError:
        # Its words quote the part that cannot be read, which may be the password.
        raise _unreadable(url) from None
    except psycopg.OperationalError as error:
        raise _refusal(str(error), url) from error
    if raw.info.server_version // 10_000 < _OLDEST_SERVER:
        found = raw.info.server_version // 10_000
        raw.close()
        raise StoreError(f"the server of {redacted(url)} is PostgreSQL {found}; ftorch needs {_OLDEST_SERVER} or newer")
    raw.execute(_SESSION)
    return raw


def _unreadable(url: str) -> StoreError:
    return StoreError(
        f"{redacted(url)} is not a URL of PostgreSQL",
        hint="write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for an @ and %2F for a / in the password",
    )


def _refusal(words: str, url: str) -> StoreError:
    """Why no connection was made. libpq gives no code for it, only the server's words."""
    place = redacted(url)
    match words:
        case _ if "password" in words or "authentication failed" in words:
            return StoreError(f"{place} refused the user or the password", hint="mend url under [store] in ftorch.toml")
        case _ if "does not exist" in words and "database" in words:
            return StoreError(f"there is no database {place}", hint="run `createdb`, or mend url under [store]")
        case _ if "does not exist" in words:
            return StoreError(f"{place} does not know this user", hint="mend url under [store] in ftorch.toml")
        case _:
            last = words.strip().splitlines()[-1].strip() if words.strip() else "no answer"
            return _UnreachableError(
                f"the server of {place} cannot be reached: {last}",
                hint="see that it runs and that this host may ask it",
            )


def _may_be_repeated(connection: Session, error: psycopg.Error | StoreError) -> bool:
    """True when nothing of the group was kept: `commit` raises something else when its answer is lost."""
    return isinstance(error, _UnreachableError) or connection.is_lost or _was_chosen_to_yield(error)


def _was_chosen_to_yield(error: BaseException) -> bool:
    return isinstance(error, psycopg.Error) and error.sqlstate in (_DEADLOCK, _SERIALISATION)


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Let psycopg's errors leave as ours."""
    try:
        yield
    except psycopg.Error as error:
        raise _store_error(error, redacted(url)) from error


def _store_error(error: psycopg.Error, place: str) -> FtorchError:
    words = error.diag.message_primary or str(error).strip()
    match error:
        case psycopg.IntegrityError():
            return IntegrityError(f"the database {place} refused a change: {words}")
        case psycopg.errors.DeadlockDetected() | psycopg.errors.SerializationFailure():
            return StoreError(
                f"others changed the same rows of {place} again and again: {words}",
                hint="run the command again; nothing was lost",
            )
        case psycopg.errors.LockNotAvailable():
            return StoreError(
                f"the database {place} has been locked by another process for {_LOCK_S} seconds",
                hint="see pg_stat_activity for who holds it, then run the command again; nothing was lost",
            )
        case psycopg.errors.QueryCanceled():
            return StoreError(f"the database {place} needed more than {_STATEMENT_S} seconds: {words}")
        case psycopg.errors.DiskFull():
            return StoreError(f"no space left on the server of {place}", hint="free some space; nothing was lost")
        case psycopg.errors.InsufficientPrivilege():
            return StoreError(f"{place} does not allow this: {words}", hint="let this user own the database")
        case psycopg.OperationalError():
            return StoreError(f"the server of {place} went away: {words}", hint="run the command again")
        case _:
            return StoreError(f"the database {place} refused a statement: {words}")
