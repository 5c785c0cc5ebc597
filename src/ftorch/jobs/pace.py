"""How often a provider is walked: as often as it allows while there is news, half as often while there is none."""

from __future__ import annotations

import random

_GROWTH = 1.25
_LONGEST = 2.0
"""Times `min_poll_s`: an end is then seen within two of the provider's own intervals."""
_JITTER = 0.1
_REST = 4.0
"""Times the CPU time of a walk: reading the list of twenty thousand runs takes a fifth of one core at most."""


class Pace:
    """When the next walk is due, in boot seconds. Jitter keeps many installations from asking at the same moment."""

    def __init__(self, min_poll_s: float, random_s: random.Random) -> None:
        self._min_poll_s = min_poll_s
        self._interval_s = min_poll_s
        self._random = random_s
        self.due_s = float("-inf")

    def started(self, now_s: float) -> None:
        """A walk has begun: the next is due after the interval."""
        self.due_s = now_s + self._interval_s * (1 + self._random.uniform(-_JITTER, _JITTER))

    def ended(self, *, had_news: bool, cpu_s: float = 0.0) -> None:
        """A walk has ended. News brings news: the next one comes at the shortest interval, after a rest."""
        longest = self._min_poll_s * _LONGEST
        wanted_s = self._min_poll_s if had_news else min(self._interval_s * _GROWTH, longest)
        self._interval_s = max(wanted_s, cpu_s * _REST)
