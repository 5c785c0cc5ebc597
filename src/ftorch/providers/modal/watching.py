"""Observing many runs at once: one list per App, and for what is not in it, its own word and its folder."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

from ftorch.core.clock import Clock
from ftorch.core.errors import ProviderError, RunNotFoundError
from ftorch.core.ids import installation_of
from ftorch.providers.base import Observation, RunRef, RunState
from ftorch.providers.modal import names, readings
from ftorch.providers.modal.logs import Logs
from ftorch.providers.modal.machines import Machine, Rates
from ftorch.providers.modal.names import MACHINE_TAG, Mark
from ftorch.providers.modal.readings import KILLED, End
from ftorch.providers.modal.search import Marks, Search
from ftorch.providers.modal.volume import Files
from ftorch.providers.modal.workspace import Workspace

_LOOKED_INTO = 8
"""Of so many running runs each step is read; where more run, only that they do."""


class Watching:
    """What runs are doing."""

    def __init__(self, workspace: Workspace, files: Files, search: Search, logs: Logs, clock: Clock) -> None:
        self._workspace = workspace
        self._files = files
        self._search = search
        self._logs = logs
        self._clock = clock

    def observe(self, refs: Collection[RunRef], rates: Rates) -> dict[RunRef, Observation]:
        """Of a ref without an id that nothing is found under, nothing is said."""
        named = self._resolved(refs)
        if not named:
            return {}
        live, marks = self._live(named.values()), Marks(self._files, "observe")
        is_looked_into = len(live) <= _LOOKED_INTO
        seen: dict[RunRef, Observation] = {}
        for ref, mark in named.items():
            one = self._observed(mark, mark.sandbox_id in live, marks, is_looked_into=is_looked_into)
            seen[ref] = replace(one, rate=self._rate(mark, rates))
        return seen

    def machine(self, sandbox_id: str) -> Machine | None:
        """What a sandbox was made with, told by its tags; None where nobody can tell."""
        with suppress(ProviderError):
            return (
                Machine.parse(self._workspace.tags(sandbox_id, "observe").get(MACHINE_TAG, "")) if sandbox_id else None
            )
        return None

    def _resolved(self, refs: Collection[RunRef]) -> dict[RunRef, Mark]:
        lost = [ref.key for ref in refs if not (ref.remote_id and ref.place)]
        found = self._search.find(lost, self._clock.now(), "observe") if lost else {}
        named: dict[RunRef, Mark] = {}
        for ref in refs:
            if ref.remote_id and ref.place:
                named[ref] = Mark(ref.key, ref.remote_id, ref.place)
            elif known := [mark for mark in found.get(ref.key, ()) if ref.remote_id in (None, mark.sandbox_id)]:
                named[ref] = known[0]
        return named

    def _live(self, marks: Collection[Mark]) -> set[str]:
        """The ids of all sandboxes that live in the Apps of these."""
        wanted = {mark.app for mark in marks}
        installations = {installation_of(mark.key) or "" for mark in marks}
        apps = [app for one in sorted(installations) for app in self._workspace.apps(one, "observe").values()]
        return {one.id for app in apps if app.name in wanted for one in self._workspace.live(app, "observe")}

    def _observed(self, mark: Mark, is_listed: bool, marks: Marks, *, is_looked_into: bool) -> Observation:
        now = self._clock.now()
        if not mark.sandbox_id:
            return readings.ended(self._files, mark.key, End(KILLED, None, None, is_cancelled=False), now)
        try:
            code = None if is_listed else self._workspace.exit_code(mark.sandbox_id, "observe")
        except RunNotFoundError:
            if marks.at(names.STARTED, mark.sandbox_id) is None:
                return Observation(RunState.ABSENT, "not found", now, detail="modal does not know the sandbox")
            code = KILLED
        started_at = marks.at(names.STARTED, mark.sandbox_id)
        if code is None:
            return readings.alive(self._files, mark.key, started_at, now, is_looked_into=is_looked_into)
        end = End(
            exit_code=code,
            started_at=started_at,
            ended_at=marks.at(names.ENDED, mark.sandbox_id),
            is_cancelled=marks.at(names.CANCELLED, mark.sandbox_id) is not None,
            said=lambda: self._logs.last_words(mark, now),
        )
        return readings.ended(self._files, mark.key, end, now)

    def _rate(self, mark: Mark, rates: Rates) -> Decimal | None:
        """As Modal says it; a price from our own list was not read back."""
        machine = self.machine(mark.sandbox_id) if rates else None
        return machine.rate(rates) if machine else None
