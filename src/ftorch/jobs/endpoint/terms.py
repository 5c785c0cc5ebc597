"""Whom we ask, what we ask, and what a call costs: before it is sent at most, and after it by its usage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from ftorch.core.errors import CredentialsError, UsageError
from ftorch.core.money import Money
from ftorch.manifest.lifetime import PerCall, PerToken

_BYTES_PER_TOKEN = 3
"""English has about four, and a token of two bytes is rare enough that a whole prompt of them is no language."""
_MILLIONTH = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible endpoint, the model that is asked there, and its price."""

    url: str
    """Its base, such as https://api.example.com/v1."""
    model: str
    api_key: str | None = field(repr=False)
    """The value. It goes into a header and nowhere else."""
    price: PerCall | PerToken | None
    """None: nobody named one, so what a call costs is unknown, and never nothing."""
    max_tokens: int
    concurrency: int = 8
    key_variable: str | None = None
    """The variable that holds the key, for the error that says to set it."""
    timeout_s: float = 120.0
    """How long the endpoint may be silent before its answer counts as lost."""

    def __post_init__(self) -> None:
        """Refuse what cannot be sent, without repeating what may be secret in it."""
        _check_address(self.url)
        if any(not "!" <= letter <= "~" for letter in self.api_key or ""):
            raise CredentialsError(
                f"{self.key_variable or 'eval.hosted.api_key'} holds characters that no API key has",
                hint="set it again, without line breaks and spaces",
            )

    @property
    def completions_url(self) -> httpx.URL:
        """Where questions are sent. What stands behind a `?` in the base stays there."""
        url = httpx.URL(self.url)
        return url.copy_with(path=f"{url.path.rstrip('/')}/chat/completions")

    @property
    def shown_url(self) -> str:
        """The base as people may see it: what stands behind a `?` may be secret."""
        return self.url.partition("?")[0].rstrip("/")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What is said with every question, beside the messages."""
        return {"model": self.model, "temperature": 0, "max_tokens": self.max_tokens}

    def call_id(self, messages: Sequence[Mapping[str, str]]) -> str:
        """What is asked of whom, as a hash: who asks the same again gets the answer that is there."""
        question = {"url": str(self.completions_url), **self.parameters, "messages": list(messages)}
        return hashlib.sha256(_json(question)).hexdigest()

    def worst_case(self, messages: Sequence[Mapping[str, str]]) -> Money | None:
        """The most that one call may cost: a token for every three bytes sent, and the longest answer."""
        return self.cost(-(-len(_json(list(messages))) // _BYTES_PER_TOKEN), self.max_tokens)

    def cost(self, prompt_tokens: int | None, output_tokens: int | None) -> Money | None:
        """What a call with so many tokens costs at the list price. None where the price or a count is missing."""
        match self.price:
            case None:
                return None
            case PerCall():
                return self.price.per_call
        if prompt_tokens is None or output_tokens is None:
            return None
        millionths = self.price.per_million_input * prompt_tokens + self.price.per_million_output * output_tokens
        return millionths * _MILLIONTH


@dataclass(frozen=True, slots=True)
class Question:
    """One held-out row: its number, the hash of its line, the prompt, and the answer that would be right."""

    row: int
    row_sha256: str
    messages: Sequence[Mapping[str, str]]
    reference: str


def _check_address(base: str) -> None:
    hint = "give eval.hosted.url as https://host/v1"
    try:
        url = httpx.URL(base)
    except httpx.InvalidURL as error:
        raise UsageError("the endpoint's address cannot be read", hint=hint) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError("the endpoint's address must start with https://", hint=hint)
    if url.userinfo:
        raise CredentialsError(
            f"the address of {url.host} holds a password",
            hint="leave it out of eval.hosted.url, and name the variable of the key in eval.hosted.api_key",
        )


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
