"""The provider `lambda`: one rented machine per run, its name the run's key, found again by it.

submit   registers the run's public key, launches once
start    once the machine is there: GPU, then data, then the runner; a machine that is not good raises HardwareError
observe  one walk over all machines, then every machine's folder at once
cancel   brings the logs home and ends the machine, unless the training is done
release  the same, again and again, until Lambda does not have the machine any more
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

from ftorch.core.clock import Clock, SystemClock
from ftorch.core.errors import (
    CredentialsError,
    HardwareError,
    NoCapacityError,
    ProviderUnavailableError,
    RunNotFoundError,
)
from ftorch.core.ids import Ids, installation_of, made_at
from ftorch.core.paths import Home
from ftorch.costs.book.listed import ListedPrice
from ftorch.costs.items import LineItem, Quote
from ftorch.manifest.plan import Plan
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
    Staged,
)
from ftorch.providers.http import Http
from ftorch.providers.lambda_cloud import orders, seen
from ftorch.providers.lambda_cloud.api import Api, Instance
from ftorch.providers.lambda_cloud.bill import Known, item
from ftorch.providers.lambda_cloud.capabilities import CAPABILITIES
from ftorch.providers.lambda_cloud.driver import Driver
from ftorch.providers.lambda_cloud.machines import GONE, Machines, by_name, quietly
from ftorch.providers.lambda_cloud.pace import Pacer
from ftorch.providers.lambda_cloud.places import Avoided, catalogue, is_gpu, placements
from ftorch.providers.lambda_cloud.records import Records
from ftorch.providers.lambda_cloud.remarks import remarks
from ftorch.providers.lambda_cloud.settings import KEY, Settings
from ftorch.providers.ssh.box import Box, Reading
from ftorch.providers.ssh.link import Link, StrangeHostError
from ftorch.providers.ssh.load import load

_FETCHED = "fetched"


class LambdaProvider:
    """Trains on machines rented from Lambda."""

    name: ClassVar[str] = "lambda"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, settings: Settings, home: Home, http: Http, pacer: Pacer, driver: Driver, clock: Clock) -> None:
        self._settings = settings
        self._home = home
        self._clock = clock
        self._driver = driver
        self._api = Api(http, pacer)
        self._records = Records(home)
        self._machines = Machines(self._api, self._records, clock)
        self._avoided = Avoided(home, clock)
        self._ids = Ids()

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        """Reads the variables of `settings.py`. Sends nothing."""
        settings, home, clock = Settings.from_env(env), Home.from_env(env), clock or SystemClock()
        http = Http(cls.name, settings.url, clock=clock, key=settings.key, key_variable=KEY)
        driver = Driver(settings, home, clock, Link(cls.name))
        return cls(settings, home, http, Pacer(home, clock), driver, clock)

    def check(self) -> Account:
        """The workspace of the key, which has no other name than the key's own mark."""
        self._api.ssh_keys("check")
        return Account(self._settings.account, "the Lambda workspace of your API key")

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        """Nothing leaves before there is a machine whose GPU works: remembers where the bundle lies."""
        return Staged(True, bundle.sha256, {"bundle": str(bundle.folder), **bundle.files})

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        """None: Lambda has a price per hour, which is in the placements, and none for a training."""
        return None

    def placements(self, plan: Plan) -> Sequence[Placement]:
        """The catalogue as it is now: types with one GPU, in regions with room, cheapest first."""
        orders.check_switch(plan, self._settings)
        region = orders.options(plan).get("region")
        return placements(self._api.types("placements"), plan.resources.gpu, region, self._avoided.all())

    def catalogue(self) -> Sequence[ListedPrice]:
        """Every machine type with its price, dated today."""
        return catalogue(self._api.types("catalogue"), self._clock.now().date())

    @classmethod
    def remarks(cls, plan: Plan, placement: Placement) -> Sequence[str]:
        """Until when the machine is kept, what that costs, and the worst case without its switch."""
        return remarks(plan, placement)

    def submit(self, order: RunOrder) -> RunRef:
        """One launch under the run's key, with a public key that only this run has."""
        place = order.placement
        if not place.detail["region"]:
            raise NoCapacityError(f"lambda has no {place.name} free now", provider=self.name, operation="submit")
        orders.check_switch(order.plan, self._settings)
        host_key = self._driver.host_key(order.key)
        self._register(order.key)
        body = orders.launch(order, self._settings, host_key, self._ids.ulid(self._clock.now()))
        hidden = [text for text in (self._settings.switch_key, host_key.private) if text]
        instance_id = self._api.launch(body, send_before=order.send_before, hidden=hidden)
        self._machines.note(
            order.key,
            instance_id,
            machine=place.name,
            launched_at=self._clock.now(),
            cents_per_hour=orders.cents(place.rate),
        )
        return self._ref(order.key, instance_id, place.name)

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Once the machine is there: look at its GPU, bring the data, start the runner. Repeatable; asks little.

        Raises HardwareError for a machine that cannot do it.
        """
        self._check_account(ref)
        for instance in self._there(ref):
            self._check_boot(instance, order)
            if instance.status == "active" and self._driver.may_knock(instance):
                self._begin(instance, order)

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        """One walk over all machines of the workspace, by exact name."""
        if not keys:
            return {}
        found = by_name(self._machines.all("find"), set(keys))
        return {key: [self._ref_of(one) for one in there] for key, there in found.items()}

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """One walk over all machines, then one question to each that is active, all at once.

        A machine whose work has begun and that does not answer: nothing was learned.
        """
        self._check_account(*refs)
        if not refs:
            return {}
        found = self._machines.all("observe")
        instances = {ref: one for ref in refs if (one := _of(ref, found)) is not None}
        readings = self._driver.read([one for one in instances.values() if self._is_worth_asking(one)])
        answers = {ref: self._observation(one, readings) for ref, one in instances.items()}
        missing = {ref: self._missing(ref) for ref in refs if ref not in instances and ref.remote_id is not None}
        return {ref: one for ref, one in {**answers, **missing}.items() if one is not None}

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        """From the machine while it is there, afterwards what was brought home."""
        self._check_account(ref)
        for instance in self._machines.of(ref, "logs"):
            if instance.status not in GONE:
                return self._page(instance, cursor)
        page = self._driver.page_at_home(ref.key, cursor)
        if page is not None:
            return page
        raise RunNotFoundError(f"lambda has no machine {ref.key}", provider=self.name, operation="logs")

    def cancel(self, ref: RunRef) -> None:
        """End the machine, its logs brought home first. One whose training is done is left: its adapter is paid for."""
        self._check_account(ref)
        for instance in self._machines.of(ref, "cancel"):
            if instance.status in GONE or self._is_done(instance):
                continue
            self._machines.note(ref.key, instance.id, cancelled_at=self._clock.now())
            self._end(instance, "cancel")

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        """Bring the adapter, and the logs; then tell the machine's switch that it is home."""
        self._check_account(ref)
        for instance in self._machines.of(ref, "fetch"):
            if instance.status not in GONE and instance.ip:
                box = self._driver.box(instance)
                artifact = box.fetch(ref.key, dest)
                self._driver.bring_logs(instance)
                quietly(partial(box.mark, ref.key, _FETCHED))
                return artifact
        raise RunNotFoundError(f"lambda has no machine {ref.key}", provider=self.name, operation="fetch")

    def release(self, ref: RunRef) -> bool:
        """End the machine until Lambda does not have it any more; then take back the run's public key."""
        self._check_account(ref)
        there = [one for one in self._machines.of(ref, "release") if one.status not in _OVER]
        for instance in there:
            if instance.status not in GONE:
                self._end(instance, "release")
        if there and not all(self._is_over(one) for one in there):
            return False
        self._machines.forget_keys(ref.key, "release")
        return True

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        """Whole minutes from first healthy to terminate at the price of the launch: derived, with an interval."""
        self._check_account(ref)
        there = {one.id: one for one in self._machines.of(ref, "charges")}
        remembered = {record.instance_id: record for record in self._machines.records(ref)}
        ids = [*there, *(one for one in remembered if one not in there)] or [ref.remote_id or ref.key] * bool(history)
        known = [Known(ref, one, there.get(one), remembered.get(one), history) for one in ids]
        return [line for one in known if (line := item(one, self._api, self._clock)) is not None]

    def owned(self, installation: str) -> Iterator[RunRef]:
        """All machines whose name is one of the installation's keys."""
        for one in self._machines.all("owned"):
            if one.name is not None and installation_of(one.name) == installation:
                yield self._ref_of(one)

    def close(self) -> None:
        """Give back all connections. Closing twice is harmless."""
        self._api.close()
        self._driver.close()

    def _register(self, key: str) -> None:
        """The run's public key, once: its name is taken when an earlier attempt came so far."""
        if all(known.name != key for known in self._api.ssh_keys("submit")):
            self._api.add_ssh_key(key, self._driver.client_key(key).public, "submit")

    def _there(self, ref: RunRef) -> Sequence[Instance]:
        """The run's machines as the last walk had them: called every second while a machine boots."""
        listed = self._machines.listed(ref.remote_id) if ref.remote_id else None
        return [listed] if listed else self._machines.of(ref, "start")

    def _check_boot(self, instance: Instance, order: RunOrder) -> None:
        launched_at = made_at(order.key)
        waited = self._clock.now() - launched_at if launched_at else None
        is_late = waited is not None and waited >= orders.boot_timeout(instance.instance_type.specs.gpus)
        if instance.status == "unhealthy" or (instance.status == "booting" and is_late):
            why = (
                "has failed Lambda's health check" if instance.status == "unhealthy" else f"has not booted in {waited}"
            )
            raise self._broken(instance, why)

    def _begin(self, instance: Instance, order: RunOrder) -> None:
        box = self._driver.box(instance)
        try:
            machine = box.probe()
            fault = machine.fault(needs_gpu=is_gpu(order.placement.detail))
        except StrangeHostError as error:
            raise self._broken(instance, f"is not the one that was launched: {error.message}") from error
        except (ProviderUnavailableError, CredentialsError):
            self._driver.nobody_home(instance)
            return
        if fault:
            raise self._broken(instance, f"cannot train: {fault}")
        if not self._has_begun(box, order.key):
            self._bring(box, order)
        self._machines.note(order.key, instance.id, began_at=self._clock.now())

    def _has_begun(self, box: Box, key: str) -> bool:
        reading = box.read(key, "start")
        return reading is not None and (reading.was_started or reading.is_cancelled)

    def _bring(self, box: Box, order: RunOrder) -> None:
        detail = dict(order.staged.detail)
        baggage = load(Bundle(Path(detail.pop("bundle")), order.staged.bundle_sha256, detail), self._home)
        box.push(baggage, operation="start")
        changes = {"max_duration_s": order.max_duration_s, "run_name": order.key}
        box.make(order.key, baggage.files, changes, {"rate": None, "python": None, "resume_from": None})
        box.start(order.key, order.secrets)

    def _broken(self, instance: Instance, why: str) -> HardwareError:
        self._avoided.add(instance.place)
        return HardwareError(f"the machine {instance.place} {why}", provider=self.name, operation="start")

    def _is_worth_asking(self, instance: Instance) -> bool:
        return instance.status == "active" and self._driver.may_knock(instance)

    def _observation(
        self, instance: Instance, readings: Mapping[str, Reading | Exception | None]
    ) -> Observation | None:
        now, record = self._clock.now(), self._records.get(instance.id)
        reading = readings.get(instance.id)
        if isinstance(reading, Reading):
            return seen.of_folder(instance, reading, record, now)
        if isinstance(reading, Exception):
            self._driver.nobody_home(instance)
        is_silent = isinstance(reading, Exception) or instance.id not in readings
        if instance.status == "active" and is_silent and self._may_have_begun(instance):
            return None
        return seen.of_machine(instance, record, now)

    def _may_have_begun(self, instance: Instance) -> bool:
        """The work was started here; or so long ago that another daemon may have done it."""
        record, launched_at = self._records.get(instance.id), made_at(instance.name or "")
        if record is not None and record.began_at is not None:
            return True
        waited = self._clock.now() - launched_at if launched_at else None
        return waited is None or waited >= orders.boot_timeout(instance.instance_type.specs.gpus)

    def _missing(self, ref: RunRef) -> Observation | None:
        """A machine that no page had: new ones are listed late, so only a not-found for its id proves it gone."""
        instance = self._machines.one(ref.remote_id or "", "observe")
        record = self._records.get(ref.remote_id or "")
        if instance is None:
            return seen.of_nothing(record, self._clock.now())
        return seen.of_machine(instance, record, self._clock.now())

    def _page(self, instance: Instance, cursor: str | None) -> LogPage:
        record = self._records.get(instance.id)
        box = self._driver.box(instance) if instance.ip else None
        if box is None or (record is not None and record.began_at is None):
            return LogPage([], cursor, False)
        return self._driver.page(box, instance.name or "", cursor)

    def _is_done(self, instance: Instance) -> bool:
        """The training has succeeded, as far as the machine answers."""
        reading = self._driver.read([instance]).get(instance.id)
        return isinstance(reading, Reading) and reading.folder.result is not None

    def _end(self, instance: Instance, operation: str) -> None:
        if instance.status == "active":
            self._driver.bring_logs(instance)
        self._machines.terminate(instance, operation)
        self._driver.forget(instance)

    def _is_over(self, instance: Instance) -> bool:
        found = self._machines.one(instance.id, "release")
        return found is None or found.status in _OVER

    def _ref(self, key: str, instance_id: str, place: str) -> RunRef:
        return RunRef(self.name, self._settings.account, key, instance_id, place)

    def _ref_of(self, instance: Instance) -> RunRef:
        return self._ref(instance.name or "", instance.id, instance.place)

    def _check_account(self, *refs: RunRef) -> None:
        """A run of another account is not missing: we hold the wrong key."""
        for ref in refs:
            if ref.account != self._settings.account:
                raise CredentialsError(
                    f"run {ref.key} was launched with another API key of lambda: {ref.account}, not "
                    f"{self._settings.account}",
                    hint=f"set {KEY} to the key that launched it, then run `ftorch doctor`",
                )


_OVER = frozenset({"terminated", "preempted"})


def _of(ref: RunRef, found: Sequence[Instance]) -> Instance | None:
    """The machine of a reference: by its id, else the oldest of its name."""
    if ref.remote_id is not None:
        return next((one for one in found if one.id == ref.remote_id), None)
    return next(iter(by_name(found, [ref.key]).get(ref.key, ())), None)
