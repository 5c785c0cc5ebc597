from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from crash.world import World
from postgres import Server, running_server

_WORDS = {
    "succeeded": "succeeded, paid once",
    "cancelled": "cancelled, paid once",
    "unknown": "create lost twice, a person decides",
}
_NOTED = pytest.StashKey["Hits"]()


class Hits:
    """Which boundaries were hit by a death, and how the job ended."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str, str]] = Counter()
        self.lives = 0

    def note(self, store: str, kind: str, world: World) -> None:
        """Count the deaths of one world."""
        self.lives += world.lives
        outcome = "WRONG" if world.faults() else _WORDS[world.outcome]
        for boundary in world.fate.met:
            self.counts[boundary, store, kind, outcome] += 1

    def lines(self) -> Iterator[str]:
        """The table: a line per boundary, a column per store and kind."""
        columns = sorted({(store, kind) for _, store, kind, _ in self.counts})
        yield "boundary".ljust(20) + "".join(f"{store}, {kind}".rjust(25) for store, kind in columns) + "  outcome"
        for boundary in sorted({boundary for boundary, *_ in self.counts}):
            cells = [
                sum(n for (b, s, k, _), n in self.counts.items() if (b, s, k) == (boundary, *column))
                for column in columns
            ]
            outcomes = sorted({outcome for b, _, _, outcome in self.counts if b == boundary})
            yield boundary.ljust(20) + "".join(str(cell).rjust(25) for cell in cells) + "  " + "; ".join(outcomes)
        yield f"{sum(self.counts.values())} deaths in {self.lives} lives"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="session")
def hits(pytestconfig: pytest.Config) -> Hits:
    noted = Hits()
    pytestconfig.stash[_NOTED] = noted
    return noted


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if noted := config.stash.get(_NOTED, None):
        terminalreporter.section("deaths")
        for line in noted.lines():
            terminalreporter.write_line(line)
