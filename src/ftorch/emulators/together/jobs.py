"""One fine-tuning job: its status, steps, tokens and price at any moment follow from a few moments of its life.

    created --5 s--> started --2 s--> tokenised --60 s--> trained --4 s--> completed

A genuine training that needs longer moves `trained` back; whoever ends the job early sets its `ending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ftorch.emulators.together.accounts import Account
from ftorch.emulators.together.models import Method, Tariff, TunableModel, price
from ftorch.emulators.together.records import EventType, Status
from ftorch.emulators.together.schemas import CreateFineTune, Lora
from ftorch.emulators.training import Outcome, Work

QUEUE_S, TOKENISE_S, WORK_S, SAVE_S, CANCEL_S = 5, 2, 60, 4, 2
DEFAULT_SEED = 42
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Size:
    """How much a job has to do."""

    rows: int
    bytes: int
    steps: int
    train_tokens: int
    """All epochs."""
    eval_tokens: int
    """All evaluations."""

    @property
    def tokens(self) -> int:
        return self.train_tokens + self.eval_tokens


@dataclass(frozen=True, slots=True)
class Ending:
    """How and when a job ends before its time. `stopped_at`: when its training stopped, a moment earlier."""

    at: datetime
    status: Status
    stopped_at: datetime
    message: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """An event that does not follow from the course of things: a refund, a billing limit."""

    at: datetime
    type: EventType
    message: str


@dataclass(frozen=True, slots=True)
class Refund:
    at: datetime
    usd: Decimal


@dataclass(slots=True)
class Job:
    """One job. `order` is the body that made it, `tariff` the prices of that day."""

    number: int
    id: str
    account: Account
    order: CreateFineTune
    model: TunableModel
    lora: Lora | None
    """The adapter's shape, None for full training."""
    batch_size: int
    max_seq_length: int
    size: Size
    tariff: Tariff
    created_at: datetime
    trained_at: datetime
    work: Work
    ending: Ending | None = None
    outcome: Outcome | None = None
    archive: bytes | None = None
    refunds: list[Refund] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def suffix(self) -> str:
        return self.order.suffix or ""

    @property
    def organisation(self) -> str:
        return self.account.organisation

    @property
    def method(self) -> Method:
        return self.order.training_method.method

    @property
    def seed(self) -> int:
        return DEFAULT_SEED if self.order.random_seed is None else self.order.random_seed

    @property
    def output_name(self) -> str:
        words = (self.model.id.partition("/")[2], self.suffix, self.id[-8:])
        return f"{self.account.project_name}/{'-'.join(word for word in words if word)}"

    @property
    def adapter_name(self) -> str | None:
        return f"{self.output_name}-adapter" if self.lora else None

    @property
    def starts_at(self) -> datetime:
        return self.created_at + timedelta(seconds=QUEUE_S)

    @property
    def tokenised_at(self) -> datetime:
        return self.starts_at + timedelta(seconds=TOKENISE_S)

    @property
    def ends_at(self) -> datetime:
        return self.ending.at if self.ending else self.trained_at + timedelta(seconds=SAVE_S)

    @property
    def stops_at(self) -> datetime:
        """When its training stops, by itself or by an early end."""
        return min(self.ending.stopped_at, self.trained_at) if self.ending else self.trained_at

    def is_over(self, now: datetime) -> bool:
        return now >= self.ends_at

    def status(self, now: datetime) -> Status:
        if self.ending and now >= self.ending.at:
            return self.ending.status
        if self.ending and now >= self.ending.stopped_at:
            return "cancel_requested"
        return self._natural_status(now)

    def has_trained_to_its_end(self, now: datetime) -> bool:
        return now >= self.trained_at and (self.ending is None or self.ending.stopped_at >= self.trained_at)

    def step(self, now: datetime) -> int:
        """Steps done. The last one is done when the training has ended, however long that takes."""
        if self.has_trained_to_its_end(now):
            return self.size.steps
        worked_s = (min(now, self.stops_at) - self.tokenised_at).total_seconds()
        return min(max(int(self.size.steps * worked_s / WORK_S), 0), self.size.steps - 1)

    def reached(self, step: int) -> datetime:
        """When a step is done."""
        if step >= self.size.steps:
            return self.trained_at
        return self.tokenised_at + timedelta(seconds=WORK_S * step / self.size.steps)

    def tokens_until(self, step: int) -> int:
        return self.size.tokens * step // self.size.steps

    def price(self, now: datetime) -> int | None:
        """`total_price` in nano-dollars: the whole from the tokenisation on, less after an early end or a refund."""
        if now < self.tokenised_at and not self.is_over(now):
            return None
        usd = self.cost(now, self.tariff) if self.is_over(now) else self.full_cost(self.tariff)
        return int((usd - self.refunded(now)).scaleb(9))

    def tokens(self, now: datetime) -> int | None:
        """`token_count`, known and revised as the price is."""
        if now < self.tokenised_at and not self.is_over(now):
            return None
        return self.tokens_until(self.step(now)) if self.is_over(now) else self.size.tokens

    def full_cost(self, tariff: Tariff) -> Decimal:
        return max(price(self.size.tokens, self.rate(tariff)), tariff.minimum)

    def cost(self, now: datetime, tariff: Tariff) -> Decimal:
        """What the work until now costs, refunds aside. The minimum is for a training that came to its end."""
        if self.has_trained_to_its_end(now):
            return self.full_cost(tariff)
        return price(self.tokens_until(self.step(now)), self.rate(tariff))

    def refunded(self, now: datetime) -> Decimal:
        return sum((refund.usd for refund in self.refunds if refund.at <= now), _NOTHING)

    def rate(self, tariff: Tariff) -> Decimal:
        """USD per million tokens."""
        return tariff.rate(self.model, self.method, is_lora=self.lora is not None)

    def losses(self, now: datetime) -> Sequence[float]:
        """The loss of every step done by now, stretched over the steps that the trainer really took."""
        if self.outcome is None or not self.outcome.losses:
            return ()
        count = len(self.outcome.losses)
        return [self.outcome.losses[step * count // self.size.steps] for step in range(self.step(now))]

    def _natural_status(self, now: datetime) -> Status:
        save = timedelta(seconds=SAVE_S)
        course: tuple[tuple[datetime, Status], ...] = (
            (self.created_at + timedelta(seconds=1), "pending"),
            (self.starts_at, "queued"),
            (self.trained_at, "running"),
            (self.trained_at + save / 2, "compressing"),
            (self.trained_at + save, "uploading"),
        )
        return next((status for until, status in course if now < until), "completed")
