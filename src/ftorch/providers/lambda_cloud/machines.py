"""A run's machines: found by name or id, ended until that is proven, and what was seen of them written down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta

from ftorch.core.clock import Clock
from ftorch.core.errors import ProviderError, RunNotFoundError
from ftorch.core.ids import installation_of, made_at
from ftorch.providers.base import RunRef
from ftorch.providers.lambda_cloud.api import Api, Instance
from ftorch.providers.lambda_cloud.records import Record, Records

SENT = "ftorch-sent"
GONE = frozenset({"terminating", "terminated", "preempted"})
_STALE_KEY = timedelta(days=1)


class Machines:
    """What Lambda says of our machines, and what we remember."""

    def __init__(self, api: Api, records: Records, clock: Clock) -> None:
        self._api = api
        self._records = records
        self._clock = clock
        self._listed: dict[str, Instance] = {}

    def all(self, operation: str) -> Sequence[Instance]:
        """Every machine of the workspace, ours noted down. A complete walk."""
        found = list(self._api.instances(operation))
        for one in found:
            self._note(one)
        self._listed = {one.id: one for one in found}
        return found

    def listed(self, instance_id: str) -> Instance | None:
        """As the last walk had it: no request."""
        return self._listed.get(instance_id)

    def one(self, instance_id: str, operation: str) -> Instance | None:
        """Asked for by its id; None where Lambda does not know it."""
        try:
            return self._note(self._api.instance(instance_id, operation))
        except RunNotFoundError:
            if record := self._records.get(instance_id):
                self._records.note(record.key, instance_id, ended_at=self._clock.now(), ending_from=record.seen_at)
            return None

    def of(self, ref: RunRef, operation: str) -> Sequence[Instance]:
        """The machines that a reference means: the one of its id, else all of its name, oldest first."""
        if ref.remote_id is not None:
            found = self.one(ref.remote_id, operation)
            return [found] if found else []
        return oldest_first([one for one in self.all(operation) if one.name == ref.key])

    def records(self, ref: RunRef) -> Sequence[Record]:
        """What we remember of the machines that a reference means."""
        if ref.remote_id is None:
            return self._records.of_key(ref.key)
        record = self._records.get(ref.remote_id)
        return [record] if record else []

    def terminate(self, instance: Instance, operation: str) -> None:
        """Ask for a machine's end, and note the moments that enclose it."""
        key = instance.name or ""
        self._records.note(key, instance.id, ending_from=self._clock.now())
        last = self._api.terminate(instance.id, operation)
        if last is not None:
            self._note(last)
            self._records.note(key, instance.id, ended_at=self._clock.now())

    def note(self, key: str, instance_id: str, **seen: object) -> Record:
        return self._records.note(key, instance_id, **seen)

    def forget_keys(self, key: str, operation: str) -> None:
        """Take back the run's public key, and those of our earlier runs that nobody took back.

        A machine that runs keeps the key that it was launched with.
        """
        mine = installation_of(key)
        old = self._clock.now() - _STALE_KEY
        for known in self._api.ssh_keys(operation):
            made = made_at(known.name)
            is_left = installation_of(known.name) == mine and made is not None and made < old
            if known.name == key or is_left:
                self._api.delete_ssh_key(known.id, operation)

    def _note(self, one: Instance) -> Instance:
        if one.name is None or installation_of(one.name) is None:
            return one
        now = self._clock.now()
        is_there = one.status not in GONE
        self._records.note(
            one.name,
            one.id,
            machine=one.place,
            cents_per_hour=one.instance_type.price_cents_per_hour,
            launched_at=made_at(one.name),
            # Where Lambda does not say it, a machine that is active has been healthy at the latest now.
            healthy_at=one.first_healthy or (now if one.status == "active" else None),
            seen_at=now if is_there else None,
            ending_from=None if is_there else self._seen(one.id),
            ended_at=None if is_there else now,
        )
        return one

    def _seen(self, instance_id: str) -> object:
        record = self._records.get(instance_id)
        return record.seen_at if record else None


def oldest_first(found: Sequence[Instance]) -> Sequence[Instance]:
    """By the mark that each launch carries; Lambda lists machines in no order that it promises."""
    return sorted(found, key=lambda one: one.tag(SENT) or "")


def by_name(found: Sequence[Instance], keys: Collection[str]) -> Mapping[str, Sequence[Instance]]:
    """The machines of these names, oldest first."""
    named = {key: oldest_first([one for one in found if one.name == key]) for key in keys}
    return {key: there for key, there in named.items() if there}


def quietly(call: Callable[[], object]) -> None:
    """Do what is worth trying and nothing waits for."""
    try:
        call()
    except ProviderError:
        return
