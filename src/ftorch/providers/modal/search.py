"""Looking for runs: among what lives, among the marks, and for what left none, in what was billed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

import modal

from ftorch.core.ids import installation_of, made_at
from ftorch.providers.modal import names
from ftorch.providers.modal.names import Mark
from ftorch.providers.modal.volume import Files
from ftorch.providers.modal.workspace import Workspace

_MONTH = timedelta(days=30)


class Marks:
    """The marks on the Volume, each folder listed once at most."""

    def __init__(self, files: Files, operation: str) -> None:
        self._files = files
        self._operation = operation
        self._listed: dict[str, Mapping[Mark, datetime]] = {}

    def of(self, folder: str) -> Mapping[Mark, datetime]:
        if folder not in self._listed:
            self._listed[folder] = self._files.marks(folder, self._operation)
        return self._listed[folder]

    def at(self, folder: str, sandbox_id: str) -> datetime | None:
        """When a sandbox left its mark in a folder."""
        return next((at for mark, at in self.of(folder).items() if mark.sandbox_id == sandbox_id), None)


class Search:
    """Complete searches: what they do not find is not there."""

    def __init__(self, workspace: Workspace, files: Files) -> None:
        self._workspace = workspace
        self._files = files

    def find(self, keys: Collection[str], now: datetime, operation: str) -> dict[str, list[Mark]]:
        """The sandboxes that carry these keys, oldest first. One that only a statistic tells of has no id."""
        found: dict[str, list[Mark]] = {}
        for installation in sorted({installation_of(key) or "" for key in keys} - {""}):
            ours = [key for key in keys if installation_of(key) == installation]
            apps = self._workspace.apps(installation, operation)
            for mark in self._known(apps, ours, operation):
                found.setdefault(mark.key, []).append(mark)
            lost = [key for key in ours if key not in found]
            for mark in self._billed(apps, lost, now, operation):
                found.setdefault(mark.key, []).append(mark)
        return found

    def live(self, key: str, operation: str) -> list[Mark]:
        """The sandboxes under a key that wait or run."""
        apps = self._workspace.apps(installation_of(key) or "", operation)
        return [Mark(key, live.id, live.app) for _, live in self._workspace.keyed(apps, [key], operation)]

    def owned(self, installation: str, operation: str) -> Iterator[Mark]:
        """Every sandbox of an installation that lives or has left a mark."""
        seen: set[str] = set()
        for mark in self._files.marks(names.STARTED, operation):
            if installation_of(mark.key) == installation:
                seen.add(mark.sandbox_id)
                yield mark
        for app in self._workspace.apps(installation, operation).values():
            for live in self._workspace.live(app, operation):
                key = self._workspace.key_of(live, operation)
                if live.id not in seen and key and installation_of(key) == installation:
                    yield Mark(key, live.id, live.app)

    def _known(self, apps: Mapping[str, modal.App], keys: Collection[str], operation: str) -> Iterable[Mark]:
        """Those with a mark, then the live that have none yet; one that ends between the two has left its mark."""
        wanted = set(keys)
        live = [Mark(key, one.id, one.app) for key, one in self._workspace.keyed(apps, list(wanted), operation)]
        marked = [mark for mark in self._files.marks(names.STARTED, operation) if mark.key in wanted]
        ids = {mark.sandbox_id for mark in marked}
        return [*marked, *(mark for mark in reversed(live) if mark.sandbox_id not in ids)]

    def _billed(
        self, apps: Mapping[str, modal.App], keys: Collection[str], now: datetime, operation: str
    ) -> Iterator[Mark]:
        if not keys:
            return
        start = min(made_at(key) or now - _MONTH for key in keys)
        for name, app in apps.items():
            for key, usd in self._workspace.costs(app, start, now, operation).items():
                if key in keys and usd > 0:
                    yield Mark(key, "", name)
