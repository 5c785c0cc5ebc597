"""The money that a pass over the questions may spend: the worst case of a call is held before it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from ftorch.core.money import Money

NOTHING = Money(Decimal(0))


class EmptyError(Exception):
    """The next call may cost more than is left."""

    def __init__(self, worst: Money) -> None:
        super().__init__()
        self.worst = worst


@dataclass(slots=True)
class Hold:
    """What one call may cost; whoever knows better sets it, and else it counts as spent."""

    cost: Money


class Purse:
    """Holds and what became of them. Threads share it. Without a limit it only counts."""

    def __init__(self, limit: Money | None) -> None:
        self.limit = limit
        self.spent = NOTHING
        self._held = NOTHING
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, worst: Money) -> Iterator[Hold]:
        """Keep `worst` back while a call is made; afterwards its cost is spent. Raises EmptyError when it cannot fit.

        Waits for calls that are under way: they may cost less than they might, and then it fits after all.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._fits(worst) or self._held == NOTHING)
            if not self._fits(worst):
                raise EmptyError(worst)
            self._held += worst
        hold = Hold(worst)
        try:
            yield hold
        finally:
            with self._changed:
                self._held -= worst
                self.spent += hold.cost
                self._changed.notify_all()

    def _fits(self, worst: Money) -> bool:
        return self.limit is None or self.spent + self._held + worst <= self.limit
