"""Commands and bytes over ssh: asyncssh inside, synchronous outside.

One thread runs the event loop; connections are kept and shared between callers. A command is sent once: whoever may
ask twice does so. What fails before a command can have been sent is a `ProviderUnavailableError`; what fails afterwards
is a `LostError`, and the command may have been carried out.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import asyncssh

from ftorch.core.errors import CredentialsError, ProviderUnavailableError

Value = TypeVar("Value")

CONNECT_S = 20.0
_KEEPALIVE_S = 15
_BLOCK = 1 << 18
_WINDOW = 1 << 23  # the default of 2 MiB waits for the far end: 300 MB took a third longer
_PACKET = 1 << 16
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr")
"""The quick ones first: 217 MB/s against 102 with asyncssh's own order."""


class StrangeHostError(CredentialsError):
    """Who answers is not the machine that we know: nothing was sent."""


class LostError(ProviderUnavailableError):
    """The connection ended, or nothing came in time, after a command was sent."""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine, who we are on it, and how we know that it is the one."""

    user: str
    address: str
    port: int | None = None
    """None: what the user's ssh configuration says, else 22."""
    keys: tuple[asyncssh.SSHKey, ...] = field(default=(), repr=False)
    """Our private keys; none: those of the user and of the agent."""
    host_key: asyncssh.SSHKey | None = field(default=None, repr=False)
    """The only host key that is accepted; None: those of `known_hosts`."""
    known_hosts: Path | None = None
    config: Path | None = None
    """The user's ssh configuration."""
    agent: str | None = None
    """The socket of the user's ssh agent."""
    identities: tuple[Path, ...] = ()
    """The user's key files."""

    def __str__(self) -> str:
        return f"{self.user}@{self.address}" + (f":{self.port}" if self.port else "")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended. None: by a signal."""

    exit_code: int | None
    stdout: bytes
    stderr: str


class Link:
    """Connections of one provider. Threads may share it; a closed one opens nothing again."""

    def __init__(self, provider: str, *, connect_s: float = CONNECT_S) -> None:
        self._provider = provider
        self._connect_s = connect_s
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._open: dict[Host, asyncio.Task[asyncssh.SSHClientConnection]] = {}

    def run(self, host: Host, command: str, content: bytes, *, operation: str, timeout_s: float) -> Done:
        """Run a command with `content` as its input."""
        return self._wait(self._run(host, command, content, operation, timeout_s))

    def run_many(
        self, commands: Mapping[Host, tuple[str, bytes]], *, operation: str, timeout_s: float
    ) -> Mapping[Host, Done | ProviderUnavailableError | CredentialsError]:
        """Run one command on each of many hosts at once; each has `timeout_s` of its own."""
        return self._wait(self._run_many(commands, operation, timeout_s))

    def upload(
        self, host: Host, command: str, head: bytes, file: BinaryIO, *, operation: str, timeout_s: float
    ) -> Done:
        """Run a command with `head` and the rest of `file` as its input; `timeout_s` is for each block."""
        return self._wait(self._upload(host, command, head, file, operation, timeout_s))

    def download(
        self,
        host: Host,
        command: str,
        content: bytes,
        take: Callable[[bytes], object],
        *,
        operation: str,
        timeout_s: float,
    ) -> Done:
        """Run a command and hand on what it prints, block by block; `timeout_s` is for each block."""
        return self._wait(self._download(host, command, content, take, operation, timeout_s))

    def forget(self, host: Host) -> None:
        """Close the connection to a machine that is gone."""
        if self._thread is not None:
            self._wait(self._drop(host))

    def close(self) -> None:
        """Close all connections and end the thread. Closing twice is harmless."""
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                self._wait_in_loop(self._drop(*self._open))
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
            if not self._loop.is_closed():
                self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, Value]) -> Value:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop.run_forever, name="ftorch-ssh", daemon=True)
                self._thread.start()
        return self._wait_in_loop(work)

    def _wait_in_loop(self, work: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _run(self, host: Host, command: str, content: bytes, operation: str, timeout_s: float) -> Done:
        connection = await self._connected(host, operation)
        async with self._carried(host, operation):
            done = await connection.run(command, input=content, encoding=None, timeout=timeout_s)
            return _done(done)

    async def _run_many(
        self, commands: Mapping[Host, tuple[str, bytes]], operation: str, timeout_s: float
    ) -> Mapping[Host, Done | ProviderUnavailableError | CredentialsError]:
        async def one(host: Host, command: str, content: bytes) -> Done | ProviderUnavailableError | CredentialsError:
            try:
                async with asyncio.timeout(timeout_s):
                    return await self._run(host, command, content, operation, timeout_s)
            except TimeoutError:
                return self._unreachable(host, operation, f"no answer within {timeout_s:g} s")
            except (ProviderUnavailableError, CredentialsError) as error:
                return error

        ended = await asyncio.gather(*(one(host, *asked) for host, asked in commands.items()))
        return dict(zip(commands, ended, strict=True))

    async def _upload(
        self, host: Host, command: str, head: bytes, file: BinaryIO, operation: str, timeout_s: float
    ) -> Done:
        connection = await self._connected(host, operation)
        async with self._carried(host, operation):
            process = await self._process(connection, command)
            process.stdin.write(head)
            while block := file.read(_BLOCK):
                process.stdin.write(block)
                await asyncio.wait_for(process.stdin.drain(), timeout_s)
            process.stdin.write_eof()
            return _done(await process.wait(timeout=timeout_s))

    async def _download(
        self,
        host: Host,
        command: str,
        content: bytes,
        take: Callable[[bytes], object],
        operation: str,
        timeout_s: float,
    ) -> Done:
        connection = await self._connected(host, operation)
        async with self._carried(host, operation):
            process = await self._process(connection, command)
            process.stdin.write(content)
            process.stdin.write_eof()
            while block := await asyncio.wait_for(process.stdout.read(_BLOCK), timeout_s):
                take(block)
            return _done(await process.wait(timeout=timeout_s))

    @staticmethod
    async def _process(connection: asyncssh.SSHClientConnection, command: str) -> asyncssh.SSHClientProcess[bytes]:
        return await connection.create_process(command, encoding=None, window=_WINDOW, max_pktsize=_PACKET)

    async def _connected(self, host: Host, operation: str) -> asyncssh.SSHClientConnection:
        """The connection to a host, made by the first who asks for it."""
        known = self._open.get(host)
        if known is None or (known.done() and _is_dead(known)):
            self._open[host] = known = asyncio.create_task(asyncio.wait_for(_connect(host), self._connect_s))
        try:
            return await asyncio.shield(known)
        except asyncssh.HostKeyNotVerifiable as error:
            raise self._strange(host, operation, error) from error
        except asyncssh.PermissionDenied as error:
            raise CredentialsError(
                f"{host} does not let us in at {operation}: {error.reason}",
                hint=f"check that `ssh {host.user}@{host.address}` lets you in without a question",
            ) from error
        except (OSError, asyncssh.Error, TimeoutError) as error:
            raise self._unreachable(host, operation, _reason(error)) from error

    @asynccontextmanager
    async def _carried(self, host: Host, operation: str) -> AsyncIterator[None]:
        """A command under way: what fails in here may have been carried out."""
        try:
            yield
        except (OSError, asyncssh.Error, TimeoutError) as error:
            await self._drop(host)
            raise LostError(
                f"the answer of {host} to {operation} was lost: {_reason(error)}",
                provider=self._provider,
                operation=operation,
            ) from error

    async def _drop(self, *hosts: Host) -> None:
        for host in hosts:
            task = self._open.pop(host, None)
            if task is None:
                continue
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().abort()
            task.cancel()

    def _strange(self, host: Host, operation: str, error: asyncssh.HostKeyNotVerifiable) -> StrangeHostError:
        hint = "its host key is made for it alone: somebody else answers at its address"
        if host.host_key is None:
            hint = f"run `ssh {host.user}@{host.address}` once and compare the fingerprint, then try again"
        return StrangeHostError(f"{host} is not known by its host key at {operation}: {error.reason}", hint=hint)

    def _unreachable(self, host: Host, operation: str, why: str) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            f"{host} cannot be reached for {operation}: {why}", provider=self._provider, operation=operation
        )


async def _connect(host: Host) -> asyncssh.SSHClientConnection:
    options: dict[str, Any] = {
        "username": host.user,
        "encryption_algs": _CIPHERS,
        "keepalive_interval": _KEEPALIVE_S,
        "config": [str(host.config)] if host.config else None,
        "agent_path": host.agent,
        "client_keys": list(host.keys) or [str(path) for path in host.identities] or None,
        # `None` would switch the check off; an empty list refuses everybody.
        "known_hosts": str(host.known_hosts) if host.known_hosts else b"",
    }
    if host.port is not None:
        options["port"] = host.port
    if host.host_key is not None:
        options |= {"known_hosts": ([host.host_key], [], []), "server_host_key_algs": ["ssh-ed25519"]}
    return await asyncssh.connect(host.address, **options)


def _is_dead(task: asyncio.Task[asyncssh.SSHClientConnection]) -> bool:
    return task.cancelled() or task.exception() is not None or task.result().is_closed()


def _done(process: asyncssh.SSHCompletedProcess) -> Done:
    stdout, stderr = process.stdout or b"", process.stderr or b""
    return Done(process.exit_status, _bytes(stdout), _bytes(stderr).decode(errors="replace"))


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _reason(error: Exception) -> str:
    return f"{type(error).__name__} {getattr(error, 'reason', '') or error}".strip()
