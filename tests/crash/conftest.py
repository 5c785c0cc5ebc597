from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

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

    def add(self, counts: Sequence[tuple[Sequence[str], int]], lives: int) -> None:
        """Take over what another process of the same session has counted."""
        self.counts.update({(one[0], one[1], one[2], one[3]): n for one, n in counts})
        self.lives += lives

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


def _noted(config: pytest.Config) -> Hits:
    return config.stash.setdefault(_NOTED, Hits())


@pytest.fixture(scope="session")
def hits(pytestconfig: pytest.Config) -> Hits:
    return _noted(pytestconfig)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take longest come first, or one process has them alone while the others have nothing left."""
    items.sort(key=_longest_s, reverse=True)


def _longest_s(item: pytest.Item) -> float:
    limit = item.get_closest_marker("timeout")
    return float(limit.args[0]) if limit else 0.0


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where the session is spread over processes, each hands its counts to the one that prints the table."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        noted = _noted(session.config)
        output["deaths"] = {
            "counts": [[[str(word) for word in one], n] for one, n in noted.counts.items()],
            "lives": noted.lives,
        }


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    if told := getattr(node, "workeroutput", {}).get("deaths"):
        _noted(node.config).add(**told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (noted := _noted(config)).lives:
        terminalreporter.section("deaths")
        for line in noted.lines():
            terminalreporter.write_line(line)
