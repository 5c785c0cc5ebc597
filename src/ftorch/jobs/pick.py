"""`provider: cheapest` and `fastest`: the same offers as `plan --compare`, in the order of one figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from ftorch.core.errors import Fault, ManifestError
from ftorch.jobs.compare import Comparison, Offer
from ftorch.jobs.plan import Picked


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a rule goes by."""

    figure: Callable[[Offer], Decimal | None]
    words: Callable[[Offer], str]
    lacks: str
    """What is said of a provider that the figure is not known of."""


def _amount(offer: Offer) -> Decimal | None:
    return offer.amount.amount if offer.amount is not None else None


def _seconds(offer: Offer) -> Decimal | None:
    return Decimal(offer.seconds) if offer.seconds is not None else None


_RULES: Mapping[str, _Rule] = {
    "cheapest": _Rule(_amount, lambda offer: f"{offer.amount}", "names no price"),
    "fastest": _Rule(_seconds, lambda offer: f"{offer.seconds} s", "does not say how long it takes"),
}


def pick(found: Comparison, rule: str, file: str) -> Picked:
    """The providers that can run the plan, best first by the rule, with the reason in words.

    Raises ManifestError when there is none, saying why of each.
    """
    chosen = _RULES[rule]
    able = [(figure, offer) for offer in found.offers if offer.can_run and (figure := chosen.figure(offer)) is not None]
    if not able:
        why = "; ".join(f"{offer.provider}: {_why_not(offer, chosen)}" for offer in found.offers)
        raise ManifestError([Fault(f"{rule} finds no provider: {why}", file=file, key="provider.name")])
    ordered = [offer for _, offer in sorted(able, key=lambda pair: (pair[0], pair[1].provider))]
    left_out = [offer for offer in found.offers if offer not in ordered]
    names = ", then ".join(f"{offer.provider} at {chosen.words(offer)}" for offer in ordered)
    others = "; ".join(f"{offer.provider}: {_why_not(offer, chosen)}" for offer in left_out)
    reason = f"{rule}: {names}" + (f" (left out: {others})" if others else "")
    return Picked(rule, tuple(offer.provider for offer in ordered), reason)


def _why_not(offer: Offer, rule: _Rule) -> str:
    if offer.refused:
        return offer.refused[0]
    return offer.state if offer.state != "ready" else rule.lacks
