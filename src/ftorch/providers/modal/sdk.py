"""The only place that imports Modal's client: calls with a deadline of ours, and failures in our words.

A call is a coroutine, given the client. The client tries each RPC four times with one idempotency key, also a create;
on a dead server it would try for a minute, and on one that throttles for ever.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

import modal
from aiohttp import ClientError
from google.protobuf.message import DecodeError
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import ProtocolError
from modal import exception as said

from ftorch.core.errors import (
    CredentialsError,
    FtorchError,
    ProviderError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RateLimitedError,
    RunNotFoundError,
    RunRejectedError,
)
from ftorch.providers.modal.settings import ID_VARIABLE, SECRET_VARIABLE, URL_VARIABLE, Settings

Value = TypeVar("Value")
Call = Callable[[modal.Client], Awaitable[Value]]

BUILDER = "2025.06"
"""The image builder: another one would build another image."""
DEADLINE_S = 30.0
_PAUSE_S = 5.0
_SHOWN = 400
FAILURES = (
    said.Error,
    OSError,
    TimeoutError,
    GRPCError,
    StreamTerminatedError,
    ProtocolError,
    ClientError,
    DecodeError,
)
"""The client's own errors, and what it lets through from the libraries under it."""


class NotAllowedError(CredentialsError):
    """The token is good, and what was asked is not for it: often the workspace's plan has it not."""


class Sdk:
    """Modal's client, opened at the first call. Threads may share it."""

    def __init__(self, settings: Settings, *, deadline_s: float = DEADLINE_S) -> None:
        self._settings = settings
        self._deadline_s = deadline_s
        self._client: modal.Client | None = None
        self._lock = threading.Lock()
        # What is looked for in vain is tried once: longer waits are the engine's, and none is without end.
        os.environ.setdefault("MODAL_MAX_THROTTLE_WAIT", "0")
        os.environ.setdefault("MODAL_IMAGE_BUILDER_VERSION", BUILDER)
        # At level DEBUG the library that packs headers prints them, with the token's secret.
        logging.getLogger("hpack").setLevel(logging.INFO)

    def run(self, operation: str, call: Call[Value], *, deadline_s: float | None = None) -> Value:
        """The answer to a call. Whatever the client raises becomes one of our errors.

        A call that is cut by the deadline is cancelled: its coroutine sees a CancelledError.
        """
        try:
            return self.raw(call, deadline_s=deadline_s)
        except FAILURES as error:
            raise self.translated(error, operation) from error

    def raw(self, call: Call[Value], *, deadline_s: float | None = None) -> Value:
        """The same, with the client's own errors: for a create, where each means something else."""
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        return asyncio.run(asyncio.wait_for(self._called(call), limit_s))

    def translated(self, error: BaseException, operation: str, hidden: Collection[str] = ()) -> FtorchError:
        """The client's error in our words, without the token's secret and the hidden values."""
        words = self.shown(error, hidden)
        match error:
            case said.AuthError():
                return _refused(CredentialsError, operation, words)
            case said.PermissionDeniedError():
                return _refused(NotAllowedError, operation, words)
            case said.NotFoundError() | FileNotFoundError():
                return _error(RunNotFoundError, operation, f"modal does not know it: {words}")
            case said.ResourceExhaustedError():
                return RateLimitedError(
                    f"modal asks for a pause before {operation}",
                    retry_after_s=pause_s(error) or _PAUSE_S,
                    provider="modal",
                    operation=operation,
                )
            case said.InvalidError() | said.AlreadyExistsError():
                return _error(RunRejectedError, operation, f"modal refused {operation}: {words}")
            case said.UnimplementedError() | DecodeError():
                told = f"modal answered {operation} with something that we cannot read"
                return ProviderProtocolError(told, provider="modal", operation=operation, body=words)
            case _:
                return _error(ProviderUnavailableError, operation, f"modal did not answer {operation}: {words}")

    def shown(self, error: BaseException, hidden: Collection[str] = ()) -> str:
        """What the client says, as it may be shown."""
        text = f"{type(error).__name__} {error}".strip()
        for secret in filter(None, (self._settings.token_secret, *hidden)):
            text = text.replace(secret, "***")
        return text[:_SHOWN]

    def close(self) -> None:
        """Give back the connection. Closing twice is harmless."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            asyncio.run(client.close.aio())

    async def _called(self, call: Call[Value]) -> Value:
        return await call(await self._opened())

    async def _opened(self) -> modal.Client:
        if self._client is None:
            self._keep(await self._open())
        assert self._client is not None
        return self._client

    def _keep(self, opened: modal.Client) -> None:
        """Two threads may have opened one each; the first is kept."""
        with self._lock:
            self._client = self._client or opened

    async def _open(self) -> modal.Client:
        # The client reads its address from the process's environment alone; ours may come from a `.env`.
        if self._settings.server_url:
            os.environ[URL_VARIABLE] = self._settings.server_url
        return await modal.Client.from_credentials.aio(self._settings.token_id, self._settings.token_secret)


def pause_s(error: BaseException) -> float | None:
    """For how long a server that throttles has asked to wait; None where it has asked for nothing."""
    for detail in getattr(error.__context__, "details", None) or ():
        if seconds := getattr(detail, "retry_after_secs", None):
            return float(seconds)
    return None


def _refused(kind: type[CredentialsError], operation: str, words: str) -> CredentialsError:
    return kind(
        f"modal refused the token at {operation}: {words}",
        hint=f"set {ID_VARIABLE} and {SECRET_VARIABLE} (`modal token new` makes them), then run `ftorch doctor`",
    )


def _error(kind: type[ProviderError], operation: str, words: str) -> ProviderError:
    return kind(words, provider="modal", operation=operation)
