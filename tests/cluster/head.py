"""A real Ray head for tests. Ray listens on all interfaces, whatever it is told, so it gets a network of its own.

Everything in that network is ended by process id, and nothing else: `ray stop` would end every Ray on the machine.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

_PORT = 8265
_START_S = 120.0
_NAMESPACE = Path(__file__).with_name("namespace.py")
_BLOCK = 1 << 16


class Head:
    """One cluster of one node. `url` stays the same when the head is killed and started again."""

    def __init__(self, *, cpus: int = 4, env: Mapping[str, str] | None = None) -> None:
        # Ray refuses a session whose path is long: its Unix sockets lie in it.
        self.folder = Path(tempfile.mkdtemp(prefix="fr-", dir="/tmp"))
        self._cpus = cpus
        self._env = dict(env or {})
        # Ray looks for a head at its address among all processes of the machine, whatever network they are in.
        self._gcs_port = random.randint(20_000, 32_000)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._holder: subprocess.Popen[str] | None = None
        self._ray: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def runs(self) -> Path:
        """The folders of the runs of the session that is on."""
        return (self.folder / "ray" / "session_latest").resolve() / "logs" / "ftorch"

    def __enter__(self) -> Self:
        command = [sys.executable, str(_NAMESPACE), str(self.folder / "way-in"), str(_PORT)]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        threading.Thread(target=self._accept, daemon=True).start()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        assert self._holder is not None
        self._holder.kill()
        self._holder.wait()
        self._listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the head, and wait until it answers and can take a job."""
        options = f"--num-cpus={self._cpus} --num-gpus=0 --temp-dir={self.folder / 'ray'}"
        where = f"--node-ip-address=127.0.0.1 --dashboard-host=127.0.0.1 --dashboard-port={_PORT}"
        where += f" --port={self._gcs_port}"
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
        with (self.folder / "head.log").open("ab") as log:
            self._ray = self.inside(
                *command, *options.split(), *where.split(), stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert self._ray.poll() is None, (self.folder / "head.log").read_text()[-3000:]
            assert time.monotonic() < deadline, "the head does not answer"
            time.sleep(0.2)

    def add_node(self, *, cpus: int) -> None:
        """One more node, on this machine: it has the head's folders, and another name."""
        command = [str(Path(sys.executable).with_name("ray")), "start", f"--address=127.0.0.1:{self._gcs_port}"]
        options = [
            "--node-ip-address=127.0.0.1",
            f"--num-cpus={cpus}",
            "--num-gpus=0",
            "--disable-usage-stats",
            "--block",
        ]
        with (self.folder / "node.log").open("ab") as log:
            node = self.inside(*command, *options, stdout=log, stderr=log, start_new_session=True)
        threading.Thread(target=node.wait, daemon=True).start()
        deadline = time.monotonic() + _START_S
        while self._nodes() < 2:
            assert node.poll() is None, (self.folder / "node.log").read_text()[-3000:]
            assert time.monotonic() < deadline, "the node does not join"
            time.sleep(0.2)

    def kill(self) -> None:
        """End every process in the network but the one that holds it."""
        for _ in range(100):
            left = self.processes()
            if not left:
                break
            for pid in left:
                _kill(pid)
            time.sleep(0.05)
        if self._ray is not None:
            self._ray.wait()
        assert self.processes() == []

    def processes(self) -> list[int]:
        """All that lives in the network, by its inode."""
        assert self._holder is not None
        ours = _network(self._holder.pid)
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in pids if pid != self._holder.pid and _network(pid) == ours]

    def inside(self, *command: str, **options: object) -> subprocess.Popen[bytes]:
        """A process in the head's network, with its Python first in the path."""
        assert self._holder is not None
        enter = ["nsenter", "-t", str(self._holder.pid), "-n"]
        if os.getuid() != 0:
            enter = [*enter[:-1], "-U", "-n", "--preserve-credentials"]
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        kept = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
        env = {**kept, "PATH": path, "RAY_AUTH_MODE": "disabled", **self._env}
        return subprocess.Popen([*enter, *command], env=env, stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload,no-any-return]  # options of Popen as they come

    def _answers(self) -> bool:
        """The dashboard begins to answer before the node's agent, which starts jobs, is there."""
        try:
            answers = [httpx.get(f"{self.url}/api/{path}", timeout=5, headers=self._headers) for path in _READY]
        except httpx.TransportError:
            return False
        return all(answer.status_code == 200 for answer in answers)

    def _nodes(self) -> int:
        told = httpx.get(f"{self.url}/api/v0/nodes", timeout=30, headers=self._headers).json()
        return sum(node["state"] == "ALIVE" for node in told["data"]["result"]["result"])

    @property
    def _headers(self) -> dict[str, str]:
        token = self._env.get("RAY_AUTH_TOKEN")
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._bridge, args=(connection,), daemon=True).start()

    def _bridge(self, connection: socket.socket) -> None:
        inner = socket.socket(socket.AF_UNIX)
        with connection, inner:
            inner.connect(str(self.folder / "way-in"))
            back = threading.Thread(target=_pump, args=(inner, connection), daemon=True)
            back.start()
            _pump(connection, inner)
            back.join()


_READY = ("version", "jobs/")


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while block := source.recv(_BLOCK):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for one in (source, target):
            _close(one)


def _close(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _network(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
