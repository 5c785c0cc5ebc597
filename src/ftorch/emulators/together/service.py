"""What Together keeps, in memory and following a clock: files, jobs with their events, archives, a bill. No HTTP.

A skeleton: the names that others need; what they do follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ftorch.core.clock import Clock
from ftorch.emulators.together.accounts import ORGANISATION

QUEUE_S, TOKENISE_S, WORK_S, SAVE_S, CANCEL_S = 5, 2, 60, 4, 2


@dataclass(slots=True)
class Job:
    """One fine-tuning job. `order` is the body that made it."""

    id: str
    organisation: str
    suffix: str
    order: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the bill in its window. The API shows all but `organisation`."""

    organisation: str
    start: datetime
    end: datetime
    product_name: str
    quantity: Decimal
    unit_price: Decimal
    cost: Decimal
    pricing_dimensions: Mapping[str, str]
    attributes: Mapping[str, str]
    applied_credit: str | None = None


class Service:
    """All that Together keeps."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.listing_lag_s = 0.0
        """How long a new job is missing from the list; asking for its id finds it at once."""
        self.billing_enabled = {ORGANISATION}
        """Organisations that may read their bill; the others get 404."""
        self.billing_lag_s = 900.0
        """How long after its usage a line appears on the bill."""
        self.credit_limit = Decimal(100)
        """USD. An order that is estimated above it is not allowed to proceed."""
        self.creates: Counter[str] = Counter()
        """Jobs made, by suffix."""
        self.received: Counter[str] = Counter()
        """How often each content was sent, by SHA-256."""

    def newest(self, suffix: str) -> Job:
        """The newest job under a suffix, whoever's. For tests, as all that follows."""
        raise NotImplementedError

    def end(self, job: Job, status: str, message: str = "") -> None:
        """End a job now: `error`, `user_error` or `cancelled`. One that has ended stays as it is."""
        raise NotImplementedError

    def forget(self, job: Job) -> None:
        """Lose every trace of a job, except on the bill."""
        raise NotImplementedError

    def refund(self, job: Job, usd: Decimal) -> None:
        """Give money back: an event, a lower `total_price`, a negative line."""
        raise NotImplementedError

    def limit_billing(self, job: Job) -> None:
        """The credit is used up while the job works: a `billing_limit` event, then it is cancelled by the service."""
        raise NotImplementedError

    def archive_of(self, job: Job) -> bytes:
        """The adapter's archive as it is downloaded: tar.zst."""
        raise NotImplementedError

    def replace_archive(self, job: Job, content: bytes) -> None:
        raise NotImplementedError

    def damage(self, job: Job) -> None:
        """Spoil the weights inside the archive; the archive itself stays well-formed."""
        raise NotImplementedError

    def truth(self, job: Job) -> Decimal:
        """What the job really costs, in USD to the nano-dollar."""
        raise NotImplementedError

    def bill(self, organisation: str, start: datetime, end: datetime) -> Sequence[Line]:
        """The hourly lines whose window starts in `[start, end)`, all that is on the bill by now."""
        raise NotImplementedError

    def correct(self, line: Line, usd: Decimal) -> None:
        """Change a line of the bill after the fact."""
        raise NotImplementedError

    def add_strangers(self) -> None:
        """What else is in KEY's organisation: a colleague's jobs, another installation's, inference, a credit."""
        raise NotImplementedError
