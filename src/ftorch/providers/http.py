"""What HTTP providers share: reads that are tried again, one create that never is, and failures in our words.

    read      asks; at most 3 tries and 10 s, Retry-After honoured
    change    a write that may happen twice (upload by hash, cancel, delete): tried again like a read
    download  reads into a file, going on where the file ends
    create    writes exactly once, not after its `send_before`, and never again

Redirects are not followed: one would send a create again, or our key to another host.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from ftorch.core.clock import Clock
from ftorch.core.errors import (
    CredentialsError,
    FtorchError,
    ProviderError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RateLimitedError,
    RunNotFoundError,
    RunRejectedError,
    SubmitUnknownError,
)
from ftorch.core.files import translated
from ftorch.providers.wire import NOT_SENT, refusal, retry_after

Answer = TypeVar("Answer", bound=BaseModel)
Value = TypeVar("Value")

_TRIES = 3
_PATIENCE_S = 10.0
_CONNECTIONS = 8  # httpcore looks at every connection for every request that waits: more cost CPU and bring nothing
_JITTER = wait_random_exponential(multiplier=0.5, max=4)
_DEFAULT_PAUSE_S = 5.0
_KEPT_OF_BODY = 4000
_KEPT_OF_WORDS = 400


@dataclass(frozen=True, slots=True)
class _Call:
    """One request, and what its failures mean."""

    method: str
    path: str
    operation: str
    params: Mapping[str, Any] | None = None
    json: object = field(default=None, repr=False)
    file: Path | None = None
    not_found: str | None = None
    """What is not there when the answer is 404; None: a 404 makes no sense."""
    hidden: Collection[str] = field(default=(), repr=False)
    """Values in the request that an error must not repeat."""


class _AgainError(Exception):
    """A failure that may pass: the error that it is when patience ends, and the pause that the provider asks for."""

    def __init__(self, error: ProviderError, pause_s: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.pause_s = pause_s


def default_client() -> httpx.Client:
    """Few connections, no retries below us, and neither proxies nor passwords from the surroundings."""
    return httpx.Client(
        limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
        headers={"User-Agent": f"ftorch/{version('ftorch')}"},
        trust_env=False,
    )


class Http:
    """One provider's API over HTTP. Threads may share it. It owns `client` and closes it.

    A create has `create_timeout_s` to be written and as long again to be answered: the capability of that name must
    cover both.
    """

    def __init__(
        self,
        provider: str,
        base_url: str,
        *,
        clock: Clock,
        key: str | None = None,
        key_variable: str = "the API key",
        client: httpx.Client | None = None,
        timeout_s: float = 10.0,
        create_timeout_s: float = 30.0,
        request_id_header: str = "x-request-id",
    ) -> None:
        if key is not None and not (key.isascii() and key.isprintable()):
            raise CredentialsError(f"{key_variable} holds characters that no key of {provider} has")
        if not _is_address(base_url):
            raise CredentialsError(f"{base_url!r} is no address of {provider}: it must start with https://")
        self._provider = provider
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._key = key
        self._key_variable = key_variable
        self._client = client or default_client()
        self._timeout_s = timeout_s
        self._create_timeout_s = create_timeout_s
        self._request_id_header = request_id_header

    def read(
        self,
        path: str,
        answer: type[Answer],
        *,
        operation: str,
        params: Mapping[str, Any] | None = None,
        not_found: str | None = None,
        method: str = "GET",
        json: object = None,
    ) -> Answer:
        """Ask something. `not_found` names what a 404 says is not there; it is then a RunNotFoundError."""
        call = _Call(method, path, operation, params, json, not_found=not_found)
        return self._repeated(lambda left_s: self._asked(call, answer, left_s))

    def change(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        operation: str,
        params: Mapping[str, Any] | None = None,
        not_found: str | None = None,
        json: object = None,
        file: Path | None = None,
    ) -> Answer:
        """Write what may be written twice; the content of `file` is the body, if given. A refusal is final."""
        call = _Call(method, path, operation, params, json, file=file, not_found=not_found)
        return self._repeated(lambda left_s: self._asked(call, answer, left_s, refused=RunRejectedError))

    def create(
        self,
        path: str,
        answer: type[Answer],
        *,
        send_before: datetime,
        json: object,
        operation: str = "submit",
        rejected: Mapping[str, type[ProviderError]] | None = None,
        hidden: Collection[str] = (),
    ) -> Answer:
        """Write once. Raises SubmitUnknownError whenever the provider may have done it and we cannot read that.

        `rejected` maps the provider's own error codes that prove that nothing was created. An error repeats no value
        in `hidden`.
        """
        call = _Call("POST", path, operation, json=json, hidden=hidden)
        response = self._written_once(call, send_before)
        if not response.is_success:
            raise self._create_refused(call, response, rejected or {})
        try:
            return _parsed(answer, response)
        except ValidationError as error:
            words = f"{self._provider} answered {operation} with something that we cannot read"
            raise self._error(SubmitUnknownError, call, words, response) from error

    def download(self, path: str, part: Path, *, operation: str = "fetch", not_found: str | None = None) -> None:
        """Bring bytes to `part`, going on where it ends; as long as some arrive, a cut is no reason to give up.

        Says nothing about which bytes they are: the caller compares hashes, and deletes `part` when they differ.
        """
        call = _Call("GET", path, operation, not_found=not_found)
        while True:
            before = _size(part)
            try:
                return self._repeated(lambda left_s: self._downloaded(call, part, left_s))
            except ProviderUnavailableError:
                if _size(part) <= before:
                    raise

    def close(self) -> None:
        """Give back the connections. Closing twice is harmless."""
        self._client.close()

    def _repeated(self, attempt: Callable[[float], Value]) -> Value:
        """Run `attempt` until it passes or patience ends; it is told how many seconds are left."""
        end = self._clock.boot_s() + _PATIENCE_S

        def left_s() -> float:
            return end - self._clock.boot_s()

        retrying = Retrying(
            retry=retry_if_exception_type(_AgainError),
            wait=_pause,
            stop=lambda state: state.attempt_number >= _TRIES or state.upcoming_sleep >= left_s(),
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            return retrying(lambda: attempt(left_s()))
        except _AgainError as again:
            raise again.error from again.__cause__

    def _asked(
        self, call: _Call, answer: type[Answer], left_s: float, refused: type[ProviderError] = ProviderProtocolError
    ) -> Answer:
        with self._reading(call), _opened(call.file) as content:
            timeout_s = min(self._timeout_s, left_s)
            response = self._answered(self._request(call, timeout_s, content), timeout_s)
        if not response.is_success:
            raise self._failure(call, response, refused)
        try:
            return _parsed(answer, response)
        except ValidationError as error:
            words = f"{self._provider} answered {call.operation} with something that we cannot read"
            raise self._error(ProviderProtocolError, call, words, response) from error

    def _downloaded(self, call: _Call, part: Path, left_s: float) -> None:
        have = _size(part)
        request = self._request(call, min(self._timeout_s, left_s))
        request.headers["Accept-Encoding"] = "identity"  # a range of compressed bytes would be no range of the file
        if have:
            request.headers["Range"] = f"bytes={have}-"
        with self._reading(call), closing(self._client.send(request, stream=True, follow_redirects=False)) as response:
            if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return
            if not response.is_success:
                response.read()
                raise self._failure(call, response, ProviderProtocolError)
            _append(response, part)

    @contextmanager
    def _reading(self, call: _Call) -> Iterator[None]:
        """A transport that fails under something repeatable: worth another try."""
        try:
            yield
        except httpx.TransportError as error:
            raise _AgainError(self._unreachable(call, error)) from error
        except httpx.DecodingError as error:
            words = f"{self._provider} packed its answer to {call.operation} in a way that we cannot read"
            raise self._error(ProviderProtocolError, call, words) from error

    def _written_once(self, call: _Call, send_before: datetime) -> httpx.Response:
        def refuse_when_late(event: str, _info: Mapping[str, Any]) -> None:
            # httpx's trace extension: this event comes when we have a connection and have not written a byte.
            if event.endswith("send_request_headers.started"):
                self._check_time(call, send_before)

        self._check_time(call, send_before)
        request = self._request(call, self._create_timeout_s)
        request.extensions["trace"] = refuse_when_late
        try:
            return self._answered(request, self._create_timeout_s)
        except NOT_SENT as error:
            raise self._unreachable(call, error) from error
        except httpx.RequestError as error:
            words = f"the answer of {self._provider} to {call.operation} was lost: {self._reason(call, error)}"
            raise self._error(SubmitUnknownError, call, words) from error

    def _answered(self, request: httpx.Request, timeout_s: float) -> httpx.Response:
        """Send, and read the whole answer. httpx limits each read by itself; one that trickles is given up here."""
        end = self._clock.boot_s() + timeout_s
        blocks: list[bytes] = []
        with closing(self._client.send(request, stream=True, follow_redirects=False)) as response:
            for block in response.iter_raw():
                blocks.append(block)
                if self._clock.boot_s() > end:
                    raise httpx.ReadTimeout(f"the answer was not whole after {timeout_s:g} s", request=request)
        return httpx.Response(response.status_code, headers=response.headers, content=b"".join(blocks), request=request)

    def _check_time(self, call: _Call, send_before: datetime) -> None:
        if self._clock.now() > send_before:
            words = f"the time to send {call.operation} to {self._provider} has passed; nothing was sent"
            raise self._error(ProviderUnavailableError, call, words)

    def _request(self, call: _Call, timeout_s: float, content: BinaryIO | None = None) -> httpx.Request:
        return self._client.build_request(
            call.method,
            f"{self._base_url}{call.path}",
            params=call.params,
            json=call.json,
            content=content,
            headers={"Authorization": f"Bearer {self._key}"} if self._key else None,
            timeout=timeout_s,
        )

    def _failure(self, call: _Call, response: httpx.Response, refused: type[ProviderError]) -> Exception:
        """What an answer to a read or a repeatable write means, other than success."""
        status = response.status_code
        _, words = self._words(call, response)
        if status in (401, 403):
            return self._key_refused(call, words)
        if status == httpx.codes.NOT_FOUND and call.not_found:
            return self._error(RunNotFoundError, call, f"{self._provider} has no {call.not_found}", response)
        pause_s = retry_after(response, self._clock.now())
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return _AgainError(self._error(RateLimitedError, call, self._wait_words(call), response), pause_s)
        said = f"{self._provider} answered {call.operation} with {status}: {words}"
        if status == httpx.codes.REQUEST_TIMEOUT or response.is_server_error:
            return _AgainError(self._error(ProviderUnavailableError, call, said, response), pause_s)
        return self._error(refused, call, said, response)

    def _create_refused(
        self, call: _Call, response: httpx.Response, rejected: Mapping[str, type[ProviderError]]
    ) -> FtorchError:
        """What an answer to a create means, other than success. Only a clear refusal proves that nothing was made."""
        code, words = self._words(call, response)
        said = f"{self._provider} refused {call.operation}: {words}"
        if code in rejected:
            return self._error(rejected[code], call, said, response)
        match response.status_code:
            case 401 | 403:
                return self._key_refused(call, words)
            case 429:
                return self._error(RateLimitedError, call, self._wait_words(call), response)
            case status if response.is_client_error and status not in (408, 409):
                return self._error(RunRejectedError, call, said, response)
            case status:
                unclear = f"{self._provider} answered {call.operation} with {status}; the run may exist: {words}"
                return self._error(SubmitUnknownError, call, unclear, response)

    def _error(
        self, kind: type[ProviderError], call: _Call, message: str, response: httpx.Response | None = None
    ) -> ProviderError:
        more: dict[str, Any] = {}
        if issubclass(kind, ProviderProtocolError) and response is not None:
            more["body"] = self._shown(call, response.text, _KEPT_OF_BODY)
        if issubclass(kind, RateLimitedError):
            asked_s = retry_after(response, self._clock.now()) if response is not None else None
            more["retry_after_s"] = _DEFAULT_PAUSE_S if asked_s is None else asked_s
        error = kind(message, provider=self._provider, operation=call.operation, **more)
        error.request_id = response.headers.get(self._request_id_header) if response is not None else None
        return error

    def _key_refused(self, call: _Call, words: str) -> CredentialsError:
        return CredentialsError(
            f"{self._provider} refused the API key at {call.operation}: {words}",
            hint=f"set {self._key_variable}, then run `ftorch doctor`",
        )

    def _unreachable(self, call: _Call, error: httpx.TransportError) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            f"{self._provider} did not answer {call.operation}: {self._reason(call, error)}",
            provider=self._provider,
            operation=call.operation,
        )

    def _wait_words(self, call: _Call) -> str:
        return f"{self._provider} asks for a pause before {call.operation}"

    def _reason(self, call: _Call, error: httpx.RequestError) -> str:
        return self._shown(call, f"{type(error).__name__} {error}".strip(), _KEPT_OF_WORDS)

    def _words(self, call: _Call, response: httpx.Response) -> tuple[str, str]:
        """The provider's own error code and words."""
        code, words = refusal(response.text)
        return code, self._shown(call, words, _KEPT_OF_WORDS) or response.reason_phrase

    def _shown(self, call: _Call, text: str, length: int) -> str:
        """The provider's text as it may be shown: without our key and the call's hidden values, and not too long."""
        for secret in filter(None, (self._key, *call.hidden)):
            text = text.replace(secret, "***")
        return text[:length]


def _parsed(answer: type[Answer], response: httpx.Response) -> Answer:
    """An empty body counts as an empty object."""
    return answer.model_validate_json(response.content or b"{}")


def _pause(state: RetryCallState) -> float:
    """What the provider asked for, else exponential with full jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _AgainError) and error.pause_s is not None:
        return error.pause_s
    return _JITTER(state)


def _append(response: httpx.Response, part: Path) -> None:
    """Behind what is there when the provider sends the rest, from the start when it sends the whole."""
    mode = "ab" if response.status_code == httpx.codes.PARTIAL_CONTENT else "wb"
    with translated(part), part.open(mode) as stream:
        for block in response.iter_bytes():  # with a chunk size httpx would keep back what came before a cut
            stream.write(block)
        os.fsync(stream.fileno())


def _is_address(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _opened(file: Path | None) -> AbstractContextManager[BinaryIO | None]:
    return file.open("rb") if file else nullcontext()
