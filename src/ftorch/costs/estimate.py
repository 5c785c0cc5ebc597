"""What a plan will take, before anything is sent: time with an interval, and money where somebody named a price.

An estimate is ours and is never called cost or spend.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import ceil

from ftorch.core.money import Money
from ftorch.costs.book.gpus import Gpu
from ftorch.costs.items import Quote
from ftorch.costs.prices import TokenPrice
from ftorch.manifest.plan import Plan, TokenSource
from ftorch.manifest.schema import Dpo

# Forward and backward through frozen weights: 2 + 2 operations per weight and token, plus the adapter's own share.
# DPO runs policy and reference over both answers: measured 2.5-3.3 times SFT per example, both answers counted.
_OPERATIONS_PER_WEIGHT = Decimal("4.4")
_DPO_FACTOR = Decimal("1.5")

# Measured on a 2-core machine with SmolLM2-135M in bfloat16: 50 steps, 16,577 tokens, 145 s of an idle machine.
_OPERATIONS_PER_CORE_SECOND = Decimal(33_000_000_000)
_START_S = Decimal(15)
_SPREAD = (Decimal("0.4"), Decimal("3"))

# Assumed, for no run on a GPU was ever measured here: LoRA reaches a quarter of the dense peak, between a tenth and a
# half; a machine boots and installs in seven minutes, half or twice that; weights arrive with 200 MB a second.
_GPU_SHARE = {"likely": Decimal("0.25"), "low": Decimal("0.5"), "high": Decimal("0.1")}
_BOOT_S = {"likely": Decimal(420), "low": Decimal(210), "high": Decimal(840)}
_WEIGHT_BYTES_PER_S = Decimal(200_000_000)

_TOKEN_SPREAD = {
    # Providers count with the same tokenizer and differ by a few tokens a row; ours without one is a rule of thumb.
    TokenSource.TOKENIZER: (Decimal("0.97"), Decimal("1.03")),
    TokenSource.ESTIMATE: (Decimal("0.75"), Decimal("1.35")),
}


@dataclass(frozen=True, slots=True)
class EstimateLine:
    """One summand: what it counts, how much of it, at which price."""

    description: str
    quantity: Decimal
    unit: str
    unit_price: Decimal | None
    amount: Money | None
    source: str


@dataclass(frozen=True, slots=True)
class Learned:
    """What earlier jobs of the same provider and base model changed in an estimate."""

    jobs: int
    factor: Decimal
    """What the estimate was multiplied with."""
    unlearned: Money | None
    """The estimate before; what is kept with the job, to learn from it in turn."""
    unlearned_seconds: int | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds and money with their interval; None where nobody can tell, or named a price."""

    seconds: int | None
    seconds_low: int | None
    seconds_high: int | None
    amount: Money | None
    amount_low: Money | None
    amount_high: Money | None
    lines: tuple[EstimateLine, ...]
    basis: str
    """For people: what the numbers rest on."""
    growing: Money | None = None
    """The part that grows with the tokens, without boot and without a minimum: what is learned from."""
    growing_seconds: int | None = None
    price_date: date | None = None
    """When the source of the price was read; None: the price has no such date."""
    learned: Learned | None = None
    """None: no earlier job could be learned from."""


def trained_tokens(plan: Plan) -> int:
    """Tokens that the whole training reads: one epoch's tokens x epochs, or fewer with `max_steps`."""
    method, rows = plan.method, plan.dataset.train_rows
    whole = Decimal(plan.dataset.train_tokens) * Decimal(str(method.epochs))
    if method.max_steps is None:
        return ceil(whole)
    share = Decimal(method.max_steps * method.batch_size) / Decimal(max(rows, 1))
    return ceil(min(whole, Decimal(plan.dataset.train_tokens) * share))


def validation_tokens(plan: Plan) -> Decimal:
    """Tokens of the validation rows, read once: nobody counted them, so each is taken for a training row."""
    facts = plan.dataset
    return Decimal(facts.train_tokens) * facts.validation_rows / Decimal(max(facts.train_rows, 1))


def for_machine_here(plan: Plan, *, cores: int, rate: Decimal | None) -> Estimate:
    """Training on this machine's CPU: operations over measured speed. Wide, and said to be."""
    weights = plan.parameters or 0
    factor = _DPO_FACTOR if isinstance(plan.method, Dpo) else Decimal(1)
    tokens = trained_tokens(plan)
    work = _OPERATIONS_PER_WEIGHT * weights * tokens * factor / (_OPERATIONS_PER_CORE_SECOND * max(1, min(cores, 4)))
    low, high = (ceil((_START_S + work) * spread) for spread in _SPREAD)
    basis = "training operations / measured CPU speed"
    if not weights:
        basis = "start-up only: the size of the base model is not in the catalogue"
    return _by_time(ceil(_START_S + work), low, high, rate, basis, growing_seconds=ceil(work))


def for_gpu(plan: Plan, gpu: Gpu, *, count: int, rate: Decimal | None, price: str, price_date: date | None) -> Estimate:
    """Training on rented GPUs that share the rows: operations over an assumed share of the GPU's peak. Very wide."""
    factor = _DPO_FACTOR if isinstance(plan.method, Dpo) else Decimal(1)
    work = _OPERATIONS_PER_WEIGHT * (plan.parameters or 0) * trained_tokens(plan) * factor
    fetching = Decimal(2 * (plan.parameters or 0)) / _WEIGHT_BYTES_PER_S
    peak = gpu.tflops * 10**12 * count
    seconds, low, high = (
        ceil(_BOOT_S[case] + fetching + work / (peak * _GPU_SHARE[case])) for case in ("likely", "low", "high")
    )
    basis = f"training operations / a quarter of {count} x {gpu.name}'s peak, boot included; assumed, not measured"
    if not plan.parameters:
        basis = "boot only: the size of the base model is not in the catalogue"
    line = EstimateLine("machine time", Decimal(seconds), "second", _per_second(rate), _cost(seconds, rate), price)
    amounts = (_cost(seconds, rate), _cost(low, rate), _cost(high, rate))
    grown = ceil(work / (peak * _GPU_SHARE["likely"]))
    return Estimate(seconds, low, high, *amounts, (line,), basis, _cost(grown, rate), grown, price_date)


def for_tokens(plan: Plan, price: TokenPrice) -> Estimate:
    """Training that is billed by trained tokens. How long it takes is the provider's affair, and not guessed."""
    tokens = trained_tokens(plan) + ceil(validation_tokens(plan) * price.validations)
    low, high = (price.for_tokens(ceil(tokens * spread)) for spread in _TOKEN_SPREAD[plan.dataset.token_source])
    amount = price.for_tokens(tokens)
    unit_price = price.per_million / 1_000_000
    line = EstimateLine("trained tokens", Decimal(tokens), "token", unit_price, amount, price.words)
    basis = f"{tokens:,} trained tokens, {plan.dataset.token_source.value}"
    grown = Money(price.per_million * tokens / 1_000_000)
    return Estimate(None, None, None, amount, low, high, (line,), basis, growing=grown, price_date=price.date)


def unpriced_tokens(plan: Plan) -> Estimate:
    """Training that is billed by trained tokens, at a price that nobody has named yet."""
    tokens = trained_tokens(plan)
    source = f"no price is listed for {plan.base_model.id}; the provider names one once the rows are there"
    line = EstimateLine("trained tokens", Decimal(tokens), "token", None, None, source)
    return Estimate(None, None, None, None, None, None, (line,), f"{tokens:,} trained tokens, price unknown")


def quoted(quote: Quote) -> Estimate:
    """The provider's own price in place of our estimate: what it says is what is held."""
    line = EstimateLine("quote", Decimal(1), "run", quote.amount.amount, quote.amount, quote.source)
    return Estimate(None, None, None, quote.amount, quote.amount, quote.amount, (line,), quote.source)


def _by_time(seconds: int, low: int, high: int, rate: Decimal | None, basis: str, *, growing_seconds: int) -> Estimate:
    source = "declared rate in ftorch.toml" if rate is not None else "no rate is declared for local in ftorch.toml"
    line = EstimateLine("machine time", Decimal(seconds), "second", _per_second(rate), _cost(seconds, rate), source)
    amounts = (_cost(seconds, rate), _cost(low, rate), _cost(high, rate))
    growing = _cost(growing_seconds, rate)
    return Estimate(seconds, low, high, *amounts, (line,), basis, growing, growing_seconds)


def _per_second(rate: Decimal | None) -> Decimal | None:
    return None if rate is None else rate / 3600


def _cost(seconds: int, rate: Decimal | None) -> Money | None:
    return None if rate is None else Money(rate * seconds / 3600)
