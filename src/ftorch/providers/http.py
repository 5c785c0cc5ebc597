"""What HTTP providers share: reads that are tried again, one create that never is, and failures in our words.

    read      asks; at most 3 tries and 10 s, Retry-After honoured
    content   the same for a small file as it is
    change    a write that may happen twice (upload by hash, cancel, delete): tried again like a read
    download  reads into a file, going on where the file ends
    create    writes exactly once, not after its `send_before`, and never again

Redirects are not followed: one would send a create again, or our key to another host. A download may be allowed to go
to the storage that the provider names; our key does not go along.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
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
    ProviderError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RunRejectedError,
    SubmitUnknownError,
)
from ftorch.core.files import translated
from ftorch.providers.failures import AgainError, Call, Failures
from ftorch.providers.wire import NOT_SENT, content_range

Answer = TypeVar("Answer", bound=BaseModel)
Value = TypeVar("Value")

_TRIES = 3
_PATIENCE_S = 10.0
_UPLOAD_S = 900.0
"""For a file with its tries: 100 MiB take so long at 1 Mbit/s."""
_CONNECTIONS = 8  # httpcore looks at every connection for every request that waits: more cost CPU and bring nothing
_REDIRECTS = 5
_JITTER = wait_random_exponential(multiplier=0.5, max=4)


def bearer(key: str) -> Mapping[str, str]:
    """How most services want their key."""
    return {"Authorization": f"Bearer {key}"}


def default_client(timeout_s: float = 5.0) -> httpx.Client:
    """Few connections, no retries below us, and neither proxies nor passwords from the surroundings.

    `timeout_s` is for requests that bring none of their own; all of `Http`'s do.
    """
    return httpx.Client(
        limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
        headers={"User-Agent": f"ftorch/{version('ftorch')}"},
        timeout=timeout_s,
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
        authorized: Callable[[str], Mapping[str, str]] = bearer,
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
        self._authorized = authorized
        self._client = client or default_client()
        self._timeout_s = timeout_s
        self._create_timeout_s = create_timeout_s
        self._failures = Failures(provider, clock, key, key_variable, request_id_header)

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
        call = Call(method, path, operation, params, json, not_found=not_found)
        return self._repeated(lambda left_s: self._asked(call, answer, left_s))

    def content(
        self,
        path: str,
        *,
        operation: str,
        params: Mapping[str, Any] | None = None,
        not_found: str | None = None,
        not_found_words: tuple[str, ...] = (),
    ) -> bytes:
        """Ask for a small file, whole. `not_found_words` say that it is not there where the status does not."""
        call = Call("GET", path, operation, params, not_found=not_found, not_found_words=not_found_words)
        return self._repeated(lambda left_s: self._body(call, left_s))

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
        call = Call(method, path, operation, params, json, file=file, not_found=not_found)
        patience_s = _UPLOAD_S if file else _PATIENCE_S
        return self._repeated(lambda left_s: self._asked(call, answer, left_s, refused=RunRejectedError), patience_s)

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
        call = Call("POST", path, operation, json=json, hidden=hidden)
        response = self._written_once(call, send_before)
        if not response.is_success:
            raise self._failures.of_create(call, response, rejected or {})
        try:
            return _parsed(answer, response)
        except ValidationError as error:
            words = f"{self._provider} answered {operation} with something that we cannot read"
            raise self._failures.error(SubmitUnknownError, call, words, response) from error

    def download(
        self,
        path: str,
        part: Path,
        *,
        operation: str = "fetch",
        params: Mapping[str, Any] | None = None,
        not_found: str | None = None,
        is_elsewhere: bool = False,
        not_found_words: tuple[str, ...] = (),
    ) -> None:
        """Bring bytes to `part`, going on where it ends; as long as some arrive, a cut is no reason to give up.

        Says nothing about which bytes they are: the caller compares hashes, and deletes `part` when they differ.
        `is_elsewhere`: the provider may send us on to the storage that has them.
        """
        redirects = _REDIRECTS if is_elsewhere else 0
        call = Call(
            "GET",
            path,
            operation,
            params,
            not_found=not_found,
            not_found_words=not_found_words,
            redirects=redirects,
        )
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

    def _repeated(self, attempt: Callable[[float], Value], patience_s: float = _PATIENCE_S) -> Value:
        """Run `attempt` until it passes or patience ends; it is told how many seconds are left."""
        end = self._clock.boot_s() + patience_s

        def left_s() -> float:
            return end - self._clock.boot_s()

        retrying = Retrying(
            retry=retry_if_exception_type(AgainError),
            wait=_pause,
            stop=lambda state: state.attempt_number >= _TRIES or state.upcoming_sleep >= left_s(),
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            return retrying(lambda: attempt(left_s()))
        except AgainError as again:
            raise again.error from again.__cause__

    def _asked(
        self, call: Call, answer: type[Answer], left_s: float, refused: type[ProviderError] = ProviderProtocolError
    ) -> Answer:
        response = self._successful(call, left_s, refused)
        try:
            return _parsed(answer, response)
        except ValidationError as error:
            words = f"{self._provider} answered {call.operation} with something that we cannot read"
            raise self._failures.error(ProviderProtocolError, call, words, response) from error

    def _body(self, call: Call, left_s: float) -> bytes:
        return self._successful(call, left_s, ProviderProtocolError).content

    def _successful(self, call: Call, left_s: float, refused: type[ProviderError]) -> httpx.Response:
        with self._reading(call), _opened(call.file) as content:
            timeout_s = left_s if call.file else min(self._timeout_s, left_s)
            response = self._answered(self._request(call, timeout_s, content), timeout_s)
        if not response.is_success:
            raise self._failures.of_answer(call, response, refused)
        return response

    def _downloaded(self, call: Call, part: Path, left_s: float) -> None:
        have = _size(part)
        request = self._request(call, min(self._timeout_s, left_s))
        request.headers["Accept-Encoding"] = "identity"  # a range of compressed bytes would be no range of the file
        if have:
            request.headers["Range"] = f"bytes={have}-"
        with self._reading(call), closing(self._followed(call, request)) as response:
            first, length = content_range(response)
            if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                # Nothing comes behind what we have: it is the whole, unless the provider names another length.
                if length not in (None, have):
                    raise self._started_again(call, part)
                return
            if not response.is_success:
                response.read()
                raise self._failures.of_answer(call, response, ProviderProtocolError)
            if first not in (None, have):
                raise self._started_again(call, part)
            _append(response, part)

    def _followed(self, call: Call, request: httpx.Request) -> httpx.Response:
        """The answer, or that of the place where the provider sends us on to.

        httpx leaves our key out of a request to another origin. Nothing is followed out of TLS.
        """
        response = self._client.send(request, stream=True, follow_redirects=False)
        for _ in range(call.redirects):
            following = response.next_request
            if following is None or (request.url.scheme, following.url.scheme) == ("https", "http"):
                break
            response.close()
            response = self._client.send(following, stream=True, follow_redirects=False)
        return response

    def _started_again(self, call: Call, part: Path) -> AgainError:
        """What is there is not how the provider's file begins now."""
        part.unlink()
        words = f"the file that was cut at {call.operation} is another one now"
        return AgainError(self._failures.error(ProviderUnavailableError, call, words))

    @contextmanager
    def _reading(self, call: Call) -> Iterator[None]:
        """A transport that fails under something repeatable: worth another try."""
        try:
            yield
        except httpx.TransportError as error:
            raise AgainError(self._failures.unreachable(call, error)) from error
        except httpx.DecodingError as error:
            words = f"{self._provider} packed its answer to {call.operation} in a way that we cannot read"
            raise self._failures.error(ProviderProtocolError, call, words) from error

    def _written_once(self, call: Call, send_before: datetime) -> httpx.Response:
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
            raise self._failures.unreachable(call, error) from error
        except httpx.RequestError as error:
            words = f"the answer of {self._provider} to {call.operation} was lost: {self._failures.reason(call, error)}"
            raise self._failures.error(SubmitUnknownError, call, words) from error

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

    def _check_time(self, call: Call, send_before: datetime) -> None:
        if self._clock.now() > send_before:
            words = f"the time to send {call.operation} to {self._provider} has passed; nothing was sent"
            raise self._failures.error(ProviderUnavailableError, call, words)

    def _request(self, call: Call, timeout_s: float, content: BinaryIO | None = None) -> httpx.Request:
        return self._client.build_request(
            call.method,
            f"{self._base_url}{call.path}",
            params=call.params,
            json=call.json,
            content=content,
            headers=self._authorized(self._key) if self._key else None,
            timeout=timeout_s,
        )


def _parsed(answer: type[Answer], response: httpx.Response) -> Answer:
    """An empty body counts as an empty object."""
    return answer.model_validate_json(response.content or b"{}")


def _pause(state: RetryCallState) -> float:
    """What the provider asked for, else exponential with full jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, AgainError) and error.pause_s is not None:
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
