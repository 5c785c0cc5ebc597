"""The plan: a manifest resolved, counted and frozen.

It is what the providers see, what the database keeps, and what is hashed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from ftorch.manifest.evaluation import Eval
from ftorch.manifest.fields import Amount, Frozen, Json, SecretPlace
from ftorch.manifest.lifetime import Lifetime
from ftorch.manifest.prices import OwnPrice
from ftorch.manifest.schedule import Schedule
from ftorch.manifest.schema import BaseModelRef, Budget, BudgetRule, Method, Resources, Retry, Tracking
from ftorch.manifest.task import Task


class TokenSource(StrEnum):
    """Where a count of tokens comes from."""

    TOKENIZER = "tokenizer"
    ESTIMATE = "estimate"


class StartAdapter(Frozen):
    """The adapter that training starts from."""

    path: str
    sha256: str


class DatasetFacts(Frozen):
    """What the data layer found: content hashes, counts, and how the tokens were counted."""

    source: str
    """The file as the manifest names it; for people only."""
    content_hash: str
    """SHA-256 over the three split files: the identity of the dataset."""
    train_sha256: str
    validation_sha256: str | None
    held_out_sha256: str
    train_rows: int
    validation_rows: int
    held_out_rows: int
    train_tokens: int
    """Tokens of one epoch, template included, rows cut at `max_length`."""
    token_source: TokenSource
    longest_row_tokens: int
    labels: tuple[str, ...] = ()


class Plan(Frozen):
    """Everything a run needs to know, with every default written out. `hash` names it."""

    version: int = 1
    name: str
    base_model: BaseModelRef
    parameters: int | None
    """Weights of the base model, where the catalogue knows them."""
    from_adapter: StartAdapter | None
    method: Method
    dataset: DatasetFacts
    providers: tuple[str, ...]
    options: Mapping[str, Mapping[str, Json]]
    resources: Resources
    secrets: Mapping[str, SecretPlace]
    budget: Budget | None
    retry: Retry
    eval: Eval | None
    lifetime: Lifetime | None
    task: Task | None = None
    tracking: Tracking
    schedule: Schedule | None
    labels: Mapping[str, str]
    declared_rates: Mapping[str, Amount] = Field(default_factory=dict)
    """Provider -> price per hour from `ftorch.toml`, for providers that have no price of their own."""
    own_prices: Mapping[str, Mapping[str, OwnPrice]] = Field(default_factory=dict)
    """The prices of `ftorch.toml`, by provider and name, over those that we know."""
    budgets: tuple[BudgetRule, ...] = ()
    """The rules of `ftorch.toml` that the job spends from."""

    def to_json(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Plan:
        return cls.model_validate_json(text)

    @property
    def hash(self) -> str:
        """SHA-256 over what decides the adapter and where it is made.

        Budget, labels, lifetime, schedule and evaluation are left out: changing them is no reason to train again. The
        dataset counts by content, not by path.
        """
        decisive = self.model_dump(
            mode="json",
            include={"name", "base_model", "from_adapter", "method", "providers", "options", "resources"},
        )
        decisive["dataset"] = self.dataset.content_hash
        if self.from_adapter:
            decisive["from_adapter"] = self.from_adapter.sha256
        canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
