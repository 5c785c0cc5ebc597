"""Modal's workspace as we use it: Apps, sandboxes, statistics. Every call has a deadline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import modal

from ftorch.core.errors import ProviderProtocolError, RunNotFoundError
from ftorch.core.ids import installation_of, made_at
from ftorch.providers.modal.machines import Rates
from ftorch.providers.modal.names import RUN_TAG, Mark, is_app_of
from ftorch.providers.modal.sdk import NotAllowedError, Sdk

_HOUR = timedelta(hours=1)
_STATS_SPAN = timedelta(days=7)
"""Modal answers for no longer span."""
_FEW = 4
"""So many keys are searched by tag; for more, listing all and asking each for its tags is fewer calls."""


@dataclass(frozen=True, slots=True)
class Live:
    """A sandbox that waits or runs."""

    id: str
    app: str


class Workspace:
    """What is there, and what it costs."""

    def __init__(self, sdk: Sdk, environment: str | None) -> None:
        self._sdk = sdk
        self._environment = environment
        self._apps: dict[str, modal.App] = {}
        self._tags: dict[str, Mapping[str, str]] = {}

    def name(self) -> str:
        """The workspace that the token belongs to."""

        async def call(client: modal.Client) -> str | None:
            workspace = await modal.Workspace.from_context(client=client).hydrate.aio(client)
            return workspace.name

        name = self._sdk.run("check", call)
        if not name:
            raise ProviderProtocolError("modal names no workspace", provider="modal", operation="check")
        return name

    def app(self, name: str, operation: str, labels: Mapping[str, str] | None = None) -> modal.App:
        """An App of ours, made where it is not there; its tags are the labels."""

        async def call(client: modal.Client) -> modal.App:
            app = await modal.App.lookup.aio(
                name, client=client, environment_name=self._environment, create_if_missing=True
            )
            if labels and await app.get_tags.aio(client=client) != labels:
                await app.set_tags.aio(labels, client=client)
            return app

        if name not in self._apps:
            self._apps[name] = self._sdk.run(operation, call)
        return self._apps[name]

    def apps(self, installation: str, operation: str) -> Mapping[str, modal.App]:
        """All Apps of an installation by name."""

        async def call(client: modal.Client) -> list[modal.App]:
            environment = (
                modal.Environment.from_name(self._environment, client=client)
                if self._environment
                else modal.Environment.from_context(client=client)
            )
            return await environment.apps.list.aio()

        found = self._sdk.run(operation, call)
        return {app.name: app for app in found if app.name and is_app_of(app.name, installation)}

    def live(self, app: modal.App, operation: str, tags: Mapping[str, str] | None = None) -> list[Live]:
        """The sandboxes of an App that wait or run, the newest first."""

        async def call(client: modal.Client) -> list[Live]:
            listed = modal.Sandbox.list.aio(app_id=app.app_id, tags=dict(tags) if tags else None, client=client)
            return [Live(sandbox.object_id, app.name or "") async for sandbox in listed]

        # A sandbox that is made while the pages are read may come twice.
        return list(dict.fromkeys(self._sdk.run(operation, call)))

    def tags(self, sandbox_id: str, operation: str) -> Mapping[str, str]:
        """The tags of a sandbox, asked once: ours never change."""

        async def call(client: modal.Client) -> dict[str, str]:
            sandbox = await modal.Sandbox.from_id.aio(sandbox_id, client=client)
            return await sandbox.get_tags.aio()

        if sandbox_id not in self._tags:
            self._tags[sandbox_id] = self._sdk.run(operation, call)
        return self._tags[sandbox_id]

    def remember(self, sandbox_id: str, tags: Mapping[str, str]) -> None:
        """We have just made it: nobody need be asked."""
        self._tags[sandbox_id] = tags

    def keyed(self, apps: Mapping[str, modal.App], keys: Sequence[str], operation: str) -> list[tuple[str, Live]]:
        """The live sandboxes that carry these keys, the newest first."""
        if len(keys) <= _FEW:
            return [
                (key, live)
                for app in apps.values()
                for key in keys
                for live in self.live(app, operation, {RUN_TAG: key})
            ]
        wanted = set(keys)
        everything = [live for app in apps.values() for live in self.live(app, operation)]
        found = [(self.key_of(live, operation), live) for live in everything]
        return [(key, live) for key, live in found if key in wanted]

    def exit_code(self, sandbox_id: str, operation: str) -> int | None:
        """None while it waits or runs. Raises RunNotFoundError for one that Modal does not know."""

        async def call(client: modal.Client) -> int | None:
            sandbox = await modal.Sandbox.from_id.aio(sandbox_id, client=client)
            return await sandbox.poll.aio()

        return self._sdk.run(operation, call)

    def terminate(self, sandbox_id: str, operation: str) -> None:
        """End it. Nothing happens to one that has ended or is gone."""

        async def call(client: modal.Client) -> None:
            sandbox = await modal.Sandbox.from_id.aio(sandbox_id, client=client)
            await sandbox.terminate.aio()

        with suppress(RunNotFoundError):
            self._sdk.run(operation, call)

    def costs(
        self, app: modal.App, start: datetime, now: datetime, operation: str, key: str | None = None
    ) -> Mapping[str, Decimal]:
        """What runs have cost since `start` by their keys, as far as Modal tells; empty where it may not be asked.

        A `start` in the future is that of a key made before our clock was set back: both moments are looked at.
        """
        total: dict[str, Decimal] = {}
        since, end = _hour(min(start, now)), _hour(max(start, now)) + _HOUR
        while since < end:
            until = min(end, since + _STATS_SPAN)
            for run, usd in self._stats(app, since, until, operation, key).items():
                total[run] = total.get(run, Decimal(0)) + usd
            since = until
        return total

    def cost_of(self, mark: Mark, start: datetime | None, now: datetime, operation: str) -> Decimal | None:
        """What one run has cost; None where nobody tells."""
        since = start or made_at(mark.key) or now
        app = self.apps(installation_of(mark.key) or "", operation).get(mark.app)
        # It has cost before it began: from the hour in which its key was made.
        return (
            self.costs(app, min(since, made_at(mark.key) or since), now, operation, mark.key).get(mark.key)
            if app
            else None
        )

    def costs_of_hour(self, app_id: str, hour: datetime, operation: str) -> Mapping[str, Decimal]:
        """What the runs of an App have cost in a clock hour."""

        async def call(client: modal.Client) -> modal.App:
            return await modal.App.lookup.aio(app_id, client=client)

        return self._stats(self._sdk.run(operation, call), hour, hour + _HOUR, operation, None)

    def _stats(
        self, app: modal.App, since: datetime, until: datetime, operation: str, key: str | None
    ) -> Mapping[str, Decimal]:
        async def call(_client: modal.Client) -> dict[str, Decimal]:
            tags = {RUN_TAG: key} if key else None
            stats = app.sandboxes.stats.aio(since=since, until=until, group_by_tags=[RUN_TAG], tags=tags)
            return {run: group.cost async for group in stats if (run := group.tags.get(RUN_TAG))}

        try:
            return self._sdk.run(operation, call)
        except NotAllowedError:
            return {}

    def rates(self, operation: str) -> Rates:
        """What the workspace pays, in USD per hour; empty where it may not be asked."""

        async def call(client: modal.Client) -> dict[str, Decimal]:
            return dict(await modal.Workspace.from_context(client=client).billing.rates.aio())

        try:
            return self._sdk.run(operation, call)
        except (NotAllowedError, ProviderProtocolError):
            # Which plans may ask is not documented; the price list counts then.
            return {}

    def key_of(self, live: Live, operation: str) -> str | None:
        """The key of a live sandbox; None for one that is no run, or has just gone."""
        try:
            return self.tags(live.id, operation).get(RUN_TAG)
        except RunNotFoundError:
            return None


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
