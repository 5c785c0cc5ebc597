"""How `ftorch plan --compare` looks."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import click

from ftorch.cli.output import say, table
from ftorch.core.money import Money

if TYPE_CHECKING:
    from ftorch.jobs.compare import Comparison, Offer

_HOUR = Decimal(3600)


def show_comparison(found: Comparison) -> None:
    """A line per provider, then what each refuses and what would be lost there."""
    table(
        ("provider", "estimate", "interval", "hours", "on", "memory", "capacity", "state", "live check"),
        [_row(offer) for offer in found.offers],
    )
    if found.need is not None:
        need = found.need
        say(
            f"memory: {need.total} GB on one GPU (weights {need.weights}, adapter and optimizer {need.adapter}, "
            f"activations {need.activations}, logits {need.logits}, 2 for CUDA, and a fifth on top)"
        )
    for offer in found.offers:
        _say_about(offer)
    if found.cheapest:
        click.echo(f"\ncheapest: {found.cheapest}; fastest: {found.fastest or 'unknown'}")
    else:
        click.echo("\nno provider that can run it here names a price")
    if not found.is_live:
        say("hint: nothing was sent; --live asks the providers whose credentials are set")


def _row(offer: Offer) -> tuple[object, ...]:
    return (
        offer.provider,
        f"{_cents(offer.amount)}{' (STALE price)' if offer.is_stale else ''}",
        f"{_cents(offer.amount_low)} to {_cents(offer.amount_high)}" if offer.amount is not None else "-",
        _hours(offer),
        _on(offer),
        _memory(offer),
        offer.capacity,
        "refused" if offer.state == "ready" and offer.refused else offer.state,
        offer.live_check,
    )


def _say_about(offer: Offer) -> None:
    if offer.amount is not None:
        learned = f"; learned from {offer.learned_from} jobs" if offer.learned_from else ""
        say(f"{offer.provider}: {offer.price}{learned}")
    for words in offer.refused:
        say(f"{offer.provider}: refused: {words}")
    for words in offer.lost:
        say(f"{offer.provider}: otherwise than asked: {words}")


def _cents(amount: Money | None) -> str:
    """Whole cents: an interval this wide has no more digits."""
    return "unknown" if amount is None else str(amount.cents)


def _hours(offer: Offer) -> str:
    if offer.seconds is None or offer.seconds_low is None or offer.seconds_high is None:
        return "unknown"
    likely, low, high = (
        (seconds / _HOUR).quantize(Decimal("0.01"))
        for seconds in (offer.seconds, offer.seconds_low, offer.seconds_high)
    )
    return f"{likely} ({low} to {high})"


def _on(offer: Offer) -> str:
    if offer.placement is None:
        return "-"
    more = f" +{offer.other_placements}" if offer.other_placements else ""
    return f"{offer.placement}{more}"


def _memory(offer: Offer) -> str:
    words = offer.memory_fit.value.replace("_", " ")
    return f"{words} ({offer.memory_gb} GB)" if offer.memory_gb is not None else words
