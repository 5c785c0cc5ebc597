"""A real PostgreSQL of its own for the tests: a fresh folder, the loopback only, and a fresh database for each test."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

_START_S = 30.0
_USER = "ftorch"
_AS_ROOT = os.geteuid() == 0


@dataclass
class Server:
    """A server that listens on 127.0.0.1. Its folder belongs to a user without rights when the tests run as root."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str, *, user: str = _USER, password: str | None = None) -> str:
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = [_program("postgres"), "-D", str(self.folder / "data"), "-c", "listen_addresses=127.0.0.1"]
        words += ["-p", str(self.port), "-k", str(self.folder), "-c", "fsync=on"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                words, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=_owner(), group=_group()
            )
        self._wait()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT closes connections and leaves, SIGQUIT leaves as in a crash. Stopping twice is harmless."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_START_S)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All its processes stand still for the length of the block, and their connections stay."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        processes = [self._process.pid, *map(int, children)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def run(self, statement: str) -> None:
        """Carry out one statement as the server's owner."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                log = (self.folder / "log").read_text()
                assert self._process is not None
                assert self._process.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.05)
            else:
                return


@contextmanager
def running_server() -> Iterator[Server]:
    """A server for the length of the block. Fails, and does not skip, where PostgreSQL is not installed."""
    folder = Path(tempfile.mkdtemp(prefix="ftorch-pg-"))
    server = Server(folder, _free_port())
    try:
        _make(folder)
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder)


def _make(folder: Path) -> None:
    if _AS_ROOT:
        os.chown(folder, _user_without_rights().pw_uid, _user_without_rights().pw_gid)
    words = [_program("initdb"), "-D", str(folder / "data"), "-U", _USER, "-A", "trust", "-E", "UTF8"]
    words.append("--locale=C.UTF-8")
    made = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, user=_owner(), group=_group())
    assert made.returncode == 0, made.stderr


def _owner() -> int | None:
    """The user that the server runs as; None: ours. PostgreSQL refuses to run as root."""
    return _user_without_rights().pw_uid if _AS_ROOT else None


def _group() -> int | None:
    return _user_without_rights().pw_gid if _AS_ROOT else None


def _user_without_rights() -> pwd.struct_passwd:
    names = {user.pw_name: user for user in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _program(name: str) -> str:
    folders: Sequence[Path] = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]))
    assert found is not None, f"{name} is not installed: run `apt-get install postgresql`"
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
