"""The provider `ssh`: one folder per run on a machine of the user's, the trainer as a detached process there.

`submit` only makes the folder, atomically and named by the key; `start` starts the runner under a lock. So a create
cannot happen twice, and starting again after a crash is harmless. Nothing is rented.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Self

from ftorch.core.clock import Clock, SystemClock
from ftorch.core.errors import (
    CredentialsError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RunNotFoundError,
    RunRejectedError,
    SubmitUnknownError,
)
from ftorch.core.ids import installation_of
from ftorch.core.paths import Home
from ftorch.costs.items import LineItem, Quote, SpendSource, time_item
from ftorch.manifest.plan import Plan
from ftorch.providers import output
from ftorch.providers.base import (
    Account,
    Artifact,
    Bundle,
    Capabilities,
    LogPage,
    Observation,
    Placement,
    RunOrder,
    RunRef,
    RunState,
    Staged,
)
from ftorch.providers.sightings import last_rate, paid_time
from ftorch.providers.ssh.box import ANSWER_S, Box, Reading, read_many
from ftorch.providers.ssh.capabilities import CAPABILITIES
from ftorch.providers.ssh.hosts import KnownHosts, host_of
from ftorch.providers.ssh.link import Host, Link, LostError
from ftorch.providers.ssh.load import load
from ftorch.providers.ssh.log import log_page

_ACCOUNT = "ssh"
_OBSERVE_S = 15.0


class SshProvider:
    """Trains on machines of the user's."""

    name: ClassVar[str] = "ssh"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(
        self, home: Home, env: Mapping[str, str], clock: Clock, link: Link, *, answer_s: float = ANSWER_S
    ) -> None:
        self._home = home
        self._env = env
        self._clock = clock
        self._link = link
        self._answer_s = answer_s
        self._known = KnownHosts(home)

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        """Needs no credentials of ours: the user's keys, agent and known hosts are those of `ssh`."""
        return cls(Home.from_env(env), env, clock or SystemClock(), Link(cls.name))

    def check(self) -> Account:
        """Machines are the user's own: there is one account, and a run names its machine in `place`."""
        return Account(_ACCOUNT, "machines of yours, reached by ssh")

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        """Look at the machine's GPU before any row leaves, then bring what is not there yet."""
        options = self._options(plan)
        place = self._place(plan)
        box = self._box(place, options.get("identity"))
        fault = box.probe().fault(needs_gpu=not options.get("cpu"))
        if fault:
            raise RunRejectedError(f"{place} cannot train: {fault}", provider=self.name, operation="stage")
        self._known.add(place, options.get("identity"))
        baggage = load(bundle, self._home)
        box.push(baggage)
        return Staged(True, bundle.sha256, {"place": place, **{f"file:{n}": sha for n, sha in baggage.files.items()}})

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        """None: the user's machine names no price."""
        return None

    def placements(self, plan: Plan) -> Sequence[Placement]:
        """One: the machine of the manifest, at the rate of `ftorch.toml`."""
        rate = plan.declared_rates.get(self.name)
        return (Placement(self._place(plan), rate.amount if rate else None),)

    def submit(self, order: RunOrder) -> RunRef:
        """Make the run's folder. A folder that is there already is the same run, and stays as it is."""
        place = order.staged.detail["place"]
        self._check_time(order)
        try:
            self._box(place).make(order.key, _files(order.staged), _changes(order), self._order(order))
        except (LostError, ProviderProtocolError) as error:
            raise SubmitUnknownError(error.message, provider=self.name, operation="submit") from error
        return self._ref(order.key, place)

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Start the runner, unless it started before, was cancelled, or the machine is taken."""
        parallel = int(self._options(order.plan).get("parallel", 1))
        self._box_of(ref, "start").start(ref.key, order.secrets, parallel=parallel)

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        """Asks every machine that was ever used. Raises when one of them does not answer."""
        wanted = set(keys)
        there = [(key, place) for place in self._known.places() if wanted for key in self._box(place).keys("find")]
        return {key: [self._ref(key, place)] for key, place in there if key in wanted}

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """One question per machine, all at once; of a machine that does not answer in its time nothing is learned.

        Raises only when no machine answers.
        """
        by_host: defaultdict[Host, list[RunRef]] = defaultdict(list)
        for ref in refs:
            if (place := self._place_of(ref, "observe")) is not None:
                by_host[self._host(place)].append(ref)
        wanted = {host: [ref.key for ref in there] for host, there in by_host.items()}
        answers = read_many(self._link, self.name, wanted, timeout_s=_OBSERVE_S)
        silent = [answer for answer in answers.values() if isinstance(answer, Exception)]
        if silent and len(silent) == len(answers):
            raise silent[0]
        return {
            ref: self._observation(ref, answer[ref.key])
            for host, answer in answers.items()
            if isinstance(answer, Mapping)
            for ref in by_host[host]
        }

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        """What the run printed, from byte `cursor` on, whole lines only while it runs."""
        return log_page(self._box_of(ref, "logs"), ref.key, cursor)

    def cancel(self, ref: RunRef) -> None:
        """Ask the trainer to save and stop; kill it when it has not within a minute. Harmless when it is gone."""
        if (place := self._place_of(ref, "cancel")) is not None:
            self._box(place).cancel(ref.key)

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        """Bring the adapter, file by file; each goes on where it was cut."""
        return self._box_of(ref, "fetch").fetch(ref.key, dest)

    def release(self, ref: RunRef) -> bool:
        """Nothing is rented: true once the process is gone. Drops the checkpoints of a finished training."""
        place = self._place_of(ref, "release")
        return place is None or self._box(place).release(ref.key)

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        """Measured time at the declared rate; nothing when no rate was declared, for then nobody knows."""
        seen = self._sights(ref, history)
        rate, period = last_rate(seen), paid_time(seen)
        if rate is None or period is None:
            return ()
        words = f"training by ssh at the declared rate of {rate} USD per hour"
        return (time_item(SpendSource.DECLARED, f"{ref.key}/time", rate, period, words, run_key=ref.key),)

    def owned(self, installation: str) -> Iterator[RunRef]:
        """The run folders with the installation's mark, on every machine that was ever used."""
        for place in self._known.places():
            for key in self._box(place).keys("owned"):
                if installation_of(key) == installation:
                    yield self._ref(key, place)

    def close(self) -> None:
        """Close the connections. Closing twice is harmless."""
        self._link.close()

    def _observation(self, ref: RunRef, reading: Reading | None) -> Observation:
        now = self._clock.now()
        if reading is None:
            return Observation(RunState.ABSENT, "no folder", now, detail=f"{ref.place} has no folder of the run")
        rate = reading.order.get("rate")
        seen = output.observation(
            reading.folder,
            is_alive=reading.is_alive,
            is_cancelled=reading.is_cancelled,
            now=now,
            was_started=reading.was_started,
            said=reading.said,
        )
        return replace(seen, rate=Decimal(rate) if rate is not None else None)

    def _sights(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[Observation]:
        """The run as its machine tells it now, else as we saw it."""
        place = self._place_of(ref, "charges")
        reading = self._box(place).read(ref.key, "charges") if place else None
        return history if reading is None else [self._observation(ref, reading)]

    def _order(self, order: RunOrder) -> Mapping[str, Any]:
        rate, earlier = order.placement.rate, order.resume_from
        return {
            "rate": None if rate is None else f"{rate:f}",
            "python": self._options(order.plan).get("python"),
            "resume_from": earlier.key if earlier else None,
        }

    def _check_time(self, order: RunOrder) -> None:
        if self._clock.now() > order.send_before:
            words = "the time to make the run's folder has passed; nothing was sent"
            raise ProviderUnavailableError(words, provider=self.name, operation="submit")

    def _options(self, plan: Plan) -> Mapping[str, Any]:
        return plan.options.get(self.name, {})

    def _place(self, plan: Plan) -> str:
        place = self._options(plan).get("host")
        if not place:
            raise RunRejectedError(
                "ssh does not know which machine: provider.ssh.host is not given",
                provider=self.name,
                operation="stage",
                hint="write `provider: {name: ssh, ssh: {host: user@host}}`",
            )
        port = self._options(plan).get("port")
        return f"{place}:{port}" if port else str(place)

    def _place_of(self, ref: RunRef, operation: str) -> str | None:
        """The machine that has the run; None where it is proven that none has. Raises for another account's run."""
        if ref.account != _ACCOUNT:
            raise CredentialsError(f"run {ref.key} lives in the account {ref.account!r}, ours is {_ACCOUNT!r}")
        if ref.place is not None:
            return ref.place
        return next((found.place for found in self.find([ref.key]).get(ref.key, ())), None)

    def _box_of(self, ref: RunRef, operation: str) -> Box:
        place = self._place_of(ref, operation)
        if place is None:
            raise RunNotFoundError(f"no machine has a run {ref.key}", provider=self.name, operation=operation)
        return self._box(place)

    def _box(self, place: str, identity: str | None = None) -> Box:
        return Box(self._link, self._host(place, identity), self.name, self._answer_s)

    def _host(self, place: str, identity: str | None = None) -> Host:
        return host_of(place, self._env, identity or self._known.all().get(place))

    def _ref(self, key: str, place: str) -> RunRef:
        return RunRef(self.name, _ACCOUNT, key, key, place)


def _files(staged: Staged) -> Mapping[str, str]:
    return {name.removeprefix("file:"): sha for name, sha in staged.detail.items() if name.startswith("file:")}


def _changes(order: RunOrder) -> Mapping[str, Any]:
    """What only the run knows of the trainer's spec."""
    return {"max_duration_s": order.max_duration_s, "run_name": order.key}
