"""Prices of hosted models: the user's own, else those that come with the package genai-prices. Nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version
from importlib.util import find_spec

from ftorch.core.errors import MissingExtraError, UsageError
from ftorch.core.money import Money
from ftorch.manifest.prices import HOSTED, OwnPrice

_MILLION = Decimal(1_000_000)
_PACKAGE = "genai_prices"
_HINT = '[prices.hosted."{name}"] input = "0.15 USD", output = "0.60 USD", source = "...", date = 2026-11-01'


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a hosted model's tokens cost, per million."""

    input: Money
    cached_input: Money
    output: Money
    source: str
    read: date | None
    """When the source was read; None: the package does not say it of a price."""

    def cost(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> Decimal:
        """Of one call, in USD."""
        whole = self.input.amount * (input_tokens - cached_tokens) + self.cached_input.amount * cached_tokens
        return (whole + self.output.amount * output_tokens) / _MILLION


def model_price(name: str, own: Mapping[str, Mapping[str, OwnPrice]], today: date) -> ModelPrice:
    """The price of a model by its name, optionally `provider/name`.

    Raises UsageError for a model that nobody prices, MissingExtraError where it would take the package.
    """
    if said := own.get(HOSTED, {}).get(name):
        assert said.input is not None
        assert said.output is not None
        source = f"ftorch.toml: {said.source}"
        return ModelPrice(said.input, said.cached_input or said.input, said.output, source, said.date)
    if find_spec(_PACKAGE) is None:
        raise MissingExtraError(f"the price of {name} (or give it yourself: {_HINT.format(name=name)})", extra="prices")
    return _listed(name, today)


def _listed(name: str, today: date) -> ModelPrice:
    when = datetime(today.year, today.month, today.day, tzinfo=UTC)
    provider, _, model = name.partition("/")
    # `anthropic/claude-sonnet-4-0` names its provider; the first half of `Qwen/Qwen3-8B` is none.
    found = (_asked(model, provider, when) if model else None) or _asked(name, None, when)
    if found is None:
        hint = f"give it in ftorch.toml: {_HINT.format(name=name)}"
        raise UsageError(f"genai-prices knows no model {name!r}", hint=hint)
    read, cached, written = (Money(price * 1000) for price in found)
    source = f"genai-prices {version('genai-prices')}, the data that came with it, for {today}"
    return ModelPrice(read, cached, written, source, None)


def _asked(model: str, provider: str | None, when: datetime) -> list[Decimal] | None:
    """What a thousand tokens read, read from the cache, and written cost; None for an unknown model."""
    # A fifth of a second of CPU, for those who ask for a model by name.
    from genai_prices import Usage, calc_price  # noqa: PLC0415

    usages = (Usage(input_tokens=1000), Usage(input_tokens=1000, cache_read_tokens=1000), Usage(output_tokens=1000))
    try:
        return [
            calc_price(usage, model, provider_id=provider, genai_request_timestamp=when).total_price for usage in usages
        ]
    except LookupError:
        return None
