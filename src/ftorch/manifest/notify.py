"""`[[notify]]` of ftorch.toml: who is told, of what, and where the address and the secret are found."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from ftorch.manifest.fields import Frozen, SecretPlace


class NoticeKind(StrEnum):
    """Why somebody is told."""

    FINISHED = "finished"
    FAILED = "failed"
    PROMOTED = "promoted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    OVER_BUDGET = "over_budget"
    BILL = "bill"
    CROSSOVER = "crossover"
    CHANGED = "changed"
    """A trigger of a schedule held, and there is nothing to train."""
    TEST = "test"


class Notify(Frozen):
    """Where news is sent; the address is a secret."""

    type: Literal["webhook", "slack"] = Field(description="what listens there")
    url: SecretPlace = Field(description="env:NAME of the variable that holds the address")
    secret: SecretPlace | None = Field(
        None, description="webhook: env:NAME of the variable with the secret that signs, as whsec_BASE64 or plain text"
    )
    on: tuple[NoticeKind, ...] = Field((), description="what is told; everything when not given")

    @model_validator(mode="after")
    def _is_signed(self) -> Self:
        if self.type == "webhook" and self.secret is None:
            raise ValueError("secret is missing: name the variable that signs, secret = 'env:WEBHOOK_SECRET'")
        if self.type == "slack" and self.secret is not None:
            raise ValueError("secret is for webhooks: Slack's address is the secret itself")
        return self

    @property
    def name(self) -> str:
        """What tells it from others, without a secret: `webhook env:NEWS_URL`."""
        return f"{self.type} {self.url}"

    def wants(self, kind: NoticeKind) -> bool:
        """It is told of this kind; of a test it always is."""
        return not self.on or kind in self.on or kind is NoticeKind.TEST
