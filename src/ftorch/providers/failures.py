"""What an HTTP answer other than success means, in our errors, for whoever asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

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
from ftorch.providers.wire import refusal, retry_after

_DEFAULT_PAUSE_S = 5.0
_KEPT_OF_BODY = 4000
_KEPT_OF_WORDS = 400


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and what its failures mean."""

    method: str
    path: str
    operation: str
    params: Mapping[str, Any] | None = None
    json: object = field(default=None, repr=False)
    file: Path | None = None
    not_found: str | None = None
    """What is not there when the answer is 404; None: a 404 makes no sense."""
    not_found_words: tuple[str, ...] = ()
    """What the provider says in place of a 404, under whatever status."""
    hidden: Collection[str] = field(default=(), repr=False)
    """Values in the request that an error must not repeat."""
    redirects: int = 0
    """How often the provider may send us on."""


class AgainError(Exception):
    """A failure that may pass: the error that it is when patience ends, and the pause that the provider asks for."""

    def __init__(self, error: ProviderError, pause_s: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class Failures:
    """How one provider's failures are told: with its name, and without our key."""

    provider: str
    clock: Clock
    key: str | None = field(repr=False)
    key_variable: str
    request_id_header: str

    def of_answer(self, call: Call, response: httpx.Response, refused: type[ProviderError]) -> Exception:
        """What an answer to a read or a repeatable write means, other than success."""
        status = response.status_code
        _, words = self._words(call, response)
        if status in (401, 403):
            return self._key_refused(call, words)
        if status == httpx.codes.PAYMENT_REQUIRED:
            return self._unpaid(call, words, response)
        if call.not_found and _is_not_found(call, response):
            return self.error(RunNotFoundError, call, f"{self.provider} has no {call.not_found}", response)
        pause_s = retry_after(response, self.clock.now())
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return AgainError(self.error(RateLimitedError, call, self._wait_words(call), response), pause_s)
        said = f"{self.provider} answered {call.operation} with {status}: {words}"
        if status == httpx.codes.REQUEST_TIMEOUT or response.is_server_error:
            return AgainError(self.error(ProviderUnavailableError, call, said, response), pause_s)
        return self.error(refused, call, said, response)

    def of_create(
        self, call: Call, response: httpx.Response, rejected: Mapping[str, type[ProviderError]]
    ) -> FtorchError:
        """What an answer to a create means, other than success. Only a clear refusal proves that nothing was made."""
        code, words = self._words(call, response)
        said = f"{self.provider} refused {call.operation}: {words}"
        if code in rejected:
            return self.error(rejected[code], call, said, response)
        match response.status_code:
            case 401 | 403:
                return self._key_refused(call, words)
            case 402:
                return self._unpaid(call, words, response)
            case 429:
                return self.error(RateLimitedError, call, self._wait_words(call), response)
            case status if response.is_client_error and status not in (408, 409):
                return self.error(RunRejectedError, call, said, response)
            case status:
                unclear = f"{self.provider} answered {call.operation} with {status}; the run may exist: {words}"
                return self.error(SubmitUnknownError, call, unclear, response)

    def error(
        self, kind: type[ProviderError], call: Call, message: str, response: httpx.Response | None = None
    ) -> ProviderError:
        """An error of ours that knows who was asked for what, the request's id, and for how long to wait."""
        more: dict[str, Any] = {}
        if issubclass(kind, ProviderProtocolError) and response is not None:
            more["body"] = self._shown(call, response.text, _KEPT_OF_BODY)
        if issubclass(kind, RateLimitedError):
            asked_s = retry_after(response, self.clock.now()) if response is not None else None
            more["retry_after_s"] = _DEFAULT_PAUSE_S if asked_s is None else asked_s
        error = kind(message, provider=self.provider, operation=call.operation, **more)
        error.request_id = response.headers.get(self.request_id_header) if response is not None else None
        return error

    def unreachable(self, call: Call, error: httpx.TransportError) -> ProviderUnavailableError:
        """The provider could not be reached, or did not answer a question."""
        return ProviderUnavailableError(
            f"{self.provider} did not answer {call.operation}: {self.reason(call, error)}",
            provider=self.provider,
            operation=call.operation,
        )

    def reason(self, call: Call, error: httpx.RequestError) -> str:
        """What httpx says, as it may be shown."""
        return self._shown(call, f"{type(error).__name__} {error}".strip(), _KEPT_OF_WORDS)

    def _key_refused(self, call: Call, words: str) -> CredentialsError:
        return CredentialsError(
            f"{self.provider} refused the API key at {call.operation}: {words}",
            hint=f"set {self.key_variable}, then run `ftorch doctor`",
        )

    def _unpaid(self, call: Call, words: str, response: httpx.Response) -> ProviderError:
        error = self.error(
            RunRejectedError, call, f"{self.provider} wants money before {call.operation}: {words}", response
        )
        error.hint = f"add credit to your account at {self.provider}, then run `ftorch submit MANIFEST --again`"
        return error

    def _wait_words(self, call: Call) -> str:
        return f"{self.provider} asks for a pause before {call.operation}"

    def _words(self, call: Call, response: httpx.Response) -> tuple[str, str]:
        """The provider's own error code and words."""
        code, words = refusal(response.text)
        return code, self._shown(call, words, _KEPT_OF_WORDS) or response.reason_phrase

    def _shown(self, call: Call, text: str, length: int) -> str:
        """The provider's text as it may be shown: without our key and the call's hidden values, and not too long."""
        for secret in filter(None, (self.key, *call.hidden)):
            text = text.replace(secret, "***")
        return text[:length]


def _is_not_found(call: Call, response: httpx.Response) -> bool:
    says_so = any(words in response.text for words in call.not_found_words)
    return says_so or response.status_code == httpx.codes.NOT_FOUND
