"""One question put to the endpoint, once; and what a failure means: was it paid for, and is another try worth it?

not sent                   not paid   try again for 10 s, then ProviderUnavailableError
429                        not paid   wait as asked, 5 minutes in all, then RateLimitedError
5xx, 408, 409              maybe      once more, then ProviderUnavailableError
no answer, half an answer  maybe      once more, then ProviderUnavailableError or ProviderProtocolError
an answer that is none     maybe      never; ProviderProtocolError
401, 403                   not paid   never; CredentialsError
404, other 4xx, 3xx        not paid   never; RunRejectedError
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from types import TracebackType
from typing import Self

import httpx

from ftorch.core.clock import Clock
from ftorch.core.errors import (
    CredentialsError,
    FtorchError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RateLimitedError,
    RunRejectedError,
)
from ftorch.jobs.endpoint.answers import Answer, UnreadableError, parse
from ftorch.jobs.endpoint.terms import Endpoint, Question
from ftorch.providers.wire import NOT_SENT, refusal, retry_after

_OPERATION = "chat"
_CONNECT_S = 10.0
_SHORT_S = 10.0
_LONG_S = 300.0
_DEFAULT_PAUSE_S = 5.0
_KEPT_OF_BODY = 4000
_KEPT_OF_WORDS = 300
_LEAST_KEY = 16
"""Servers at home take `EMPTY` or `none` for a key: an answer may say that."""
_AGAIN = "then ask again: every answer so far is kept"


class FailedError(Exception):
    """A call without an answer. `patience_s` is how long trying again is worth it; None: not at all."""

    def __init__(
        self,
        error: FtorchError,
        *,
        may_be_paid: bool,
        patience_s: float | None = None,
        pause_s: float | None = None,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.may_be_paid = may_be_paid
        self.patience_s = patience_s
        self.pause_s = pause_s


class Exchange:
    """The endpoint over HTTP. Threads share it. Redirects are not followed: our key belongs to one host."""

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._url = endpoint.completions_url
        self._shown_url = endpoint.shown_url
        self._key = endpoint.api_key
        self._client = httpx.Client(
            limits=httpx.Limits(max_connections=endpoint.concurrency, max_keepalive_connections=endpoint.concurrency),
            headers={"User-Agent": f"ftorch/{version('ftorch')}"},
            timeout=httpx.Timeout(endpoint.timeout_s, connect=_CONNECT_S),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, question: Question) -> Answer:
        """Send the question once. Raises FailedError whenever no answer comes of it."""
        try:
            response = self._client.post(
                self._url,
                json={**self._endpoint.parameters, "messages": list(question.messages)},
                headers={"Authorization": f"Bearer {self._key}"} if self._key else None,
                follow_redirects=False,
            )
        except NOT_SENT as error:
            raise self._unreachable(question, error) from error
        except httpx.RequestError as error:
            raise self._lost(question, error) from error
        if not response.is_success:
            raise self._refused(question, response)
        try:
            answer = parse(response.content)
        except UnreadableError as error:
            raise self._unreadable(question, response, error) from error
        if self._key is None or len(self._key) < _LEAST_KEY:
            return answer
        return replace(answer, output=answer.output.replace(self._key, "***"))

    def _unreachable(self, question: Question, error: httpx.RequestError) -> FailedError:
        words = f"{self._shown_url} cannot be reached for row {question.row}: {self._reason(error)}"
        hint = f"check that the endpoint is up and eval.hosted.url is right, {_AGAIN}"
        return FailedError(self._unavailable(words, hint), may_be_paid=False, patience_s=_SHORT_S)

    def _lost(self, question: Question, error: httpx.RequestError) -> FailedError:
        words = f"{self._shown_url} left row {question.row} without an answer, and may charge it: {self._reason(error)}"
        return FailedError(
            self._unavailable(words, f"look at the endpoint, {_AGAIN}"), may_be_paid=True, patience_s=_LONG_S
        )

    def _refused(self, question: Question, response: httpx.Response) -> FailedError:
        status, words = response.status_code, self._words(response)
        said = f"{self._shown_url} answered row {question.row} with {status}: {words}"
        pause_s = retry_after(response, self._clock.now())
        match status:
            case 401 | 403:
                return FailedError(self._key_refused(question, words), may_be_paid=False)
            case 404:
                return FailedError(self._not_there(question, words), may_be_paid=False)
            case 429:
                error = self._limited(question, words, pause_s)
                return FailedError(error, may_be_paid=False, patience_s=_LONG_S, pause_s=pause_s)
            case _ if response.is_server_error or status in (408, 409):
                busy = self._unavailable(f"{said}; it may be charged", f"look at the endpoint, {_AGAIN}")
                busy.request_id = _request_id(response)
                return FailedError(busy, may_be_paid=True, patience_s=_LONG_S, pause_s=pause_s)
        hint = f"change what is refused, {_AGAIN}"
        if response.is_redirect:
            said = f"{said} to {self._hidden(response.headers.get('location', ''))}"
            hint = "give the address that it redirects to as eval.hosted.url, if you trust it with the key"
        return FailedError(self._rejected(said, hint, response), may_be_paid=False)

    def _unreadable(self, question: Question, response: httpx.Response, error: UnreadableError) -> FailedError:
        body = self._hidden(response.text)
        what = "half an answer" if error.is_half else "no chat completion"
        found = ProviderProtocolError(
            f"{self._shown_url} answered row {question.row} with {what} ({error}): {body[:_KEPT_OF_WORDS]!r}",
            provider=self._name,
            operation=_OPERATION,
            body=body[:_KEPT_OF_BODY],
        )
        found.hint = "eval.hosted.url must be the base of an OpenAI-compatible API, such as https://api.example.com/v1"
        found.request_id = _request_id(response)
        return FailedError(found, may_be_paid=True, patience_s=_LONG_S if error.is_half else None)

    def _key_refused(self, question: Question, words: str) -> CredentialsError:
        if self._key is None:
            return CredentialsError(
                f"{self._shown_url} wants an API key at row {question.row}: {words}",
                hint="name the variable that holds it, such as eval.hosted.api_key: env:HOSTED_API_KEY",
            )
        variable = self._endpoint.key_variable or "the variable that eval.hosted.api_key names"
        return CredentialsError(
            f"{self._shown_url} refused the API key at row {question.row}: {words}",
            hint=f"set {variable} to a key that may use {self._endpoint.model}, {_AGAIN}",
        )

    def _not_there(self, question: Question, words: str) -> RunRejectedError:
        return self._rejected(
            f"{self._shown_url} has no model {self._endpoint.model!r}, or no chat completions, at row {question.row}: "
            f"{words}",
            f"{self._shown_url}/models lists its models for eval.hosted.model; eval.hosted.url is the base, "
            "without /chat/completions",
        )

    def _limited(self, question: Question, words: str, pause_s: float | None) -> RateLimitedError:
        error = RateLimitedError(
            f"{self._shown_url} keeps asking for a pause before row {question.row}: {words}",
            retry_after_s=_DEFAULT_PAUSE_S if pause_s is None else pause_s,
            provider=self._name,
            operation=_OPERATION,
        )
        error.hint = f"lower eval.hosted.concurrency, or wait, {_AGAIN}"
        return error

    def _unavailable(self, words: str, hint: str) -> ProviderUnavailableError:
        return ProviderUnavailableError(words, provider=self._name, operation=_OPERATION, hint=hint)

    def _rejected(self, words: str, hint: str, response: httpx.Response | None = None) -> RunRejectedError:
        request_id = _request_id(response) if response is not None else None
        return RunRejectedError(words, provider=self._name, operation=_OPERATION, request_id=request_id, hint=hint)

    @property
    def _name(self) -> str:
        return self._url.host

    def _reason(self, error: httpx.RequestError) -> str:
        return self._hidden(f"{type(error).__name__} {error}".strip())[:_KEPT_OF_WORDS]

    def _words(self, response: httpx.Response) -> str:
        """The endpoint's own words; the beginning of the body where it has none."""
        _, words = refusal(response.text)
        return self._hidden(words)[:_KEPT_OF_WORDS] or response.reason_phrase

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _request_id(response: httpx.Response) -> str | None:
    found: str | None = response.headers.get("x-request-id")
    return found
