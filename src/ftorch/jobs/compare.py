"""One plan against every provider: dollars, hours, memory, what would be lost, what is refused and why.

By default nothing is sent: prices come from the lists and catalogues that are on disk. `is_live` asks the providers
whose credentials are set; that reads, and spends nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from ftorch.core.errors import FtorchError
from ftorch.core.money import Money, exact
from ftorch.costs.book.gpus import find_gpu, is_asked
from ftorch.costs.book.listed import ListedPrice, PriceBook, is_stale
from ftorch.costs.book.memory import Fit, MemoryNeed, memory_need
from ftorch.costs.estimate import Estimate, for_gpu
from ftorch.jobs.allowance import estimate, with_own_price
from ftorch.jobs.learning import corrected
from ftorch.jobs.plan import refusals
from ftorch.manifest.credentials import PROVIDER_VARIABLES, Credentials
from ftorch.manifest.plan import Plan
from ftorch.providers.base import BilledBy, Capabilities, Placement, PriceListed, Provider
from ftorch.providers.registry import entries, provider_class
from ftorch.providers.status import provider_status
from ftorch.store import Transaction

NOT_HERE = "not in this version of ftorch"
_NO_PRICE = "nobody names a price"
_HERE = "local"
_GB = 10**9


@dataclass(frozen=True, slots=True)
class Offer:
    """One provider, on the placement that suits the plan best."""

    provider: str
    state: str
    """`ready`, `not configured`, `missing extra` or `not in this version`."""
    placement: str | None
    gpu: str | None
    gpus: int
    amount: Money | None
    amount_low: Money | None
    amount_high: Money | None
    seconds: int | None
    seconds_low: int | None
    seconds_high: int | None
    price: str
    """The price with its source and date."""
    price_date: date | None
    is_stale: bool
    learned_from: int
    """How many earlier jobs corrected the estimate."""
    memory_gb: Decimal | None
    memory_fit: Fit
    capacity: str
    """`yes`, `no` or `unknown`."""
    lost: Sequence[str]
    """What would not be carried over as the manifest says it."""
    refused: Sequence[str]
    """Why it cannot run there; empty when it can."""
    live_check: str
    other_placements: int

    @property
    def can_run(self) -> bool:
        return self.state == "ready" and not self.refused


@dataclass(frozen=True, slots=True)
class Comparison:
    """All providers for one plan. What is unknown is None, never 0."""

    name: str
    need: MemoryNeed | None
    is_live: bool
    cheapest: str | None
    """Of those that can run it and name a price."""
    fastest: str | None
    offers: Sequence[Offer]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a comparison looks: prices, credentials, earlier jobs."""

    book: PriceBook
    credentials: Credentials
    tx: Transaction | None
    """None: nothing was ever submitted here."""
    today: date
    is_live: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """A placement with its estimate, wherever its price comes from."""

    name: str
    gpu: str | None
    gpus: int
    memory_gb: Decimal | None
    estimate: Estimate
    has_capacity: bool | None = None


def compare(plan: Plan, sources: Sources) -> Comparison:
    """The offers of all providers, those that can run it first, each cheapest first."""
    need = memory_need(plan)
    names = dict.fromkeys([*entries(), *sources.book.providers, *PROVIDER_VARIABLES])
    offers = sorted((_offer(plan, name, need, sources) for name in names), key=_rank)
    runnable = [offer for offer in offers if offer.can_run]
    timed = sorted((offer.seconds, offer.provider) for offer in runnable if offer.seconds is not None)
    return Comparison(
        name=plan.name,
        need=need,
        is_live=sources.is_live,
        cheapest=next((offer.provider for offer in runnable if offer.amount is not None), None),
        fastest=timed[0][1] if timed else None,
        offers=offers,
    )


def _offer(plan: Plan, name: str, need: MemoryNeed | None, sources: Sources) -> Offer:
    status = provider_status(name, sources.credentials)
    entry = entries().get(name)
    capabilities = provider_class(name).capabilities if entry else None
    places, said = _places(plan, name, sources)
    suited = [place for place in places if _suits(plan, place)]
    best = min(suited, key=lambda place: _place_rank(place, need), default=None)
    refused = [*said, *_refused(plan, capabilities), *_unplaceable(plan, places, best, need)]
    computed = best.estimate if best else None
    return Offer(
        provider=name,
        state=status.state if entry else "not in this version",
        placement=best.name if best else None,
        gpu=best.gpu if best else None,
        gpus=best.gpus if best else 0,
        amount=computed.amount if computed else None,
        amount_low=computed.amount_low if computed else None,
        amount_high=computed.amount_high if computed else None,
        seconds=computed.seconds if computed else None,
        seconds_low=computed.seconds_low if computed else None,
        seconds_high=computed.seconds_high if computed else None,
        price=_price_words(computed),
        price_date=computed.price_date if computed else None,
        is_stale=bool(computed and computed.price_date and is_stale(computed.price_date, sources.today)),
        learned_from=computed.learned.jobs if computed and computed.learned else 0,
        memory_gb=best.memory_gb if best else None,
        memory_fit=_fit(need, best),
        capacity=_capacity(best),
        lost=_lost(plan, name, capabilities),
        refused=refused,
        live_check=entry.live_check if entry else "never",
        other_placements=max(0, len(suited) - 1),
    )


def _places(plan: Plan, name: str, sources: Sources) -> tuple[list[_Place], list[str]]:
    """Where it could run there, with estimates; and in words why the provider could not be asked, or refuses it."""
    book = {price.name: price for price in sources.book.of(name)}
    if name not in entries():
        return [_of_book(plan, price, sources) for price in book.values()], [NOT_HERE]
    told, failed = _told(plan, provider_class(name), sources)
    if told:
        return [_of_placement(plan, name, placement, sources) for placement in told], failed
    listed, refused = _listed(plan, provider_class(name))
    if not listed:
        return [_of_book(plan, price, sources) for price in book.values()], [*failed, *refused]
    return [_of_list(plan, name, placement, book.get(placement.name), sources) for placement in listed], failed


def _told(plan: Plan, provider: type[Provider], sources: Sources) -> tuple[Sequence[Placement], list[str]]:
    """What the provider says itself, where it is to be asked."""
    if not sources.is_live or provider_status(provider.name, sources.credentials).state != "ready":
        return (), []
    try:
        with closing(provider.from_env(sources.credentials.mapping())) as opened:
            return opened.placements(plan), []
    except FtorchError as error:
        return (), [f"could not be asked: {error.message}"]


def _listed(plan: Plan, provider: type[Provider]) -> tuple[Sequence[Placement], list[str]]:
    """What stands in a list that it ships."""
    try:
        return (provider.listed(plan) if issubclass(provider, PriceListed) else ()), []
    except FtorchError as error:
        return (), [error.message]


def _of_list(plan: Plan, name: str, placement: Placement, price: ListedPrice | None, sources: Sources) -> _Place:
    """A machine of the list at the price of the book, which has a date, and may be the user's own."""
    if placement.gpu and price:
        return _of_book(plan, price, sources)
    return _of_placement(plan, name, placement, sources)


def _of_placement(plan: Plan, name: str, placement: Placement, sources: Sources) -> _Place:
    gpu, placed = find_gpu(placement.gpu), with_own_price(plan, name, placement)
    billed_by = provider_class(name).capabilities.billed_by
    if gpu is None and billed_by is not BilledBy.TOKEN and name != _HERE:
        return _Place(placement.name, placement.gpu, placement.gpus, None, _untimed(placement.name))
    computed = estimate(plan, placed, billed_by)
    if gpu is not None and placement.rate is not None:
        computed = _asked(computed, f"{exact(placement.rate)} USD per hour ({name} itself, {sources.today})", sources)
    memory = gpu.memory_gb if gpu else _memory_here() if name == _HERE else None
    learned = corrected(sources.tx, plan, name, computed)
    return _Place(placement.name, gpu.name if gpu else None, placement.gpus, memory, learned)


def _asked(computed: Estimate, words: str, sources: Sources) -> Estimate:
    """The estimate with a price that the provider itself has just told."""
    line, *others = computed.lines
    return replace(computed, lines=(replace(line, source=words), *others), price_date=sources.today)


def _of_book(plan: Plan, price: ListedPrice, sources: Sources) -> _Place:
    gpu = find_gpu(price.gpu)
    words = price.words(sources.today)
    if gpu is None:
        return _Place(price.name, price.gpu, price.count, None, _untimed(price.name), price.has_capacity)
    computed = for_gpu(plan, gpu, count=price.count, rate=price.rate, price=words, price_date=price.read)
    learned = corrected(sources.tx, plan, price.provider, computed)
    return _Place(price.name, gpu.name, price.count, gpu.memory_gb, learned, price.has_capacity)


def _untimed(name: str) -> Estimate:
    """What runs on a GPU that we do not know takes nobody knows how long, so it costs nobody knows what."""
    return Estimate(None, None, None, None, None, None, (), f"the speed of {name} is not known")


def _suits(plan: Plan, place: _Place) -> bool:
    return is_asked(place.gpu, plan.resources.gpu) and place.gpus >= (plan.resources.workers if place.gpu else 1)


def _place_rank(place: _Place, need: MemoryNeed | None) -> tuple[bool, bool, bool, Decimal]:
    """What fits and has capacity first, then the cheapest; an unknown price comes last."""
    amount = place.estimate.amount
    is_short = _fit(need, place) is Fit.TOO_LARGE
    return is_short, place.has_capacity is False, amount is None, amount.amount if amount else Decimal(0)


def _fit(need: MemoryNeed | None, place: _Place | None) -> Fit:
    return need.fit(place.memory_gb) if need and place else Fit.UNKNOWN


def _refused(plan: Plan, capabilities: Capabilities | None) -> list[str]:
    return refusals(plan, capabilities) if capabilities else []


def _unplaceable(plan: Plan, places: Sequence[_Place], best: _Place | None, need: MemoryNeed | None) -> Iterator[str]:
    if best is None and places:
        yield f"no machine there has {plan.resources.workers} x {' or '.join(plan.resources.gpu) or 'GPU'}"
    if need and best and _fit(need, best) is Fit.TOO_LARGE:
        yield f"needs {need.total} GB of memory; {best.gpu or best.name} has {best.memory_gb}"


def _price_words(computed: Estimate | None) -> str:
    if computed is None:
        return _NO_PRICE
    return computed.lines[0].source if computed.lines else computed.basis


def _capacity(place: _Place | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[place.has_capacity if place else None]


def _lost(plan: Plan, name: str, capabilities: Capabilities | None) -> list[str]:
    """What the manifest says and this provider does not carry out as it is said."""
    others = [f"the options of provider.{other} do not count there" for other in plan.options if other != name]
    if capabilities is None:
        return others
    ignored = []
    if capabilities.billed_by is BilledBy.TOKEN and plan.resources.max_duration is not None:
        ignored.append("resources.max_duration: it bills tokens, and time bounds nothing")
    return [*capabilities.altered, *ignored, *others]


def _memory_here() -> Decimal | None:
    """This machine's own memory: what a training on its CPU has."""
    if not hasattr(os, "sysconf"):
        return None
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (Decimal(total) / _GB).quantize(Decimal("0.1"))


def _rank(offer: Offer) -> tuple[bool, bool, bool, Decimal, str]:
    amount = offer.amount
    is_no_use = bool(set(offer.refused) - {NOT_HERE})
    return not offer.can_run, is_no_use, amount is None, amount.amount if amount else Decimal(0), offer.provider


def _seconds(offer: Offer) -> int:
    return offer.seconds or 0
