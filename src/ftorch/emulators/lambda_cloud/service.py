"""The service behind the API: machines by time, an account per workspace, and an invoice that nobody is shown.

A machine boots for `boot_s`, then a real sshd listens on its own loopback address and its user_data has been carried
out. Billed is each begun minute from its first healthy moment to its terminate. `tick` moves what time moves.
"""

from __future__ import annotations

import getpass
import random
import secrets
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from ftorch.core.clock import rfc3339
from ftorch.emulators.boxes.box import Box, Gpu, free_port
from ftorch.emulators.lambda_cloud import schemas
from ftorch.emulators.lambda_cloud.catalogue import REGIONS, ROOM, TYPES
from ftorch.emulators.lambda_cloud.cloudinit import CloudInit
from ftorch.emulators.server import MovableClock, RefusedError

_GONE_FROM_LISTS_S = 3.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a launch."""

    boots: bool = True
    """False: it stays booting."""
    is_healthy: bool = True
    """False: its health check fails, and it is never billed."""
    has_our_host_key: bool = True
    """False: somebody else's sshd answers at its address."""
    gpu: Gpu = field(default_factory=Gpu)
    vanishes_after_s: float | None = None
    """Lambda takes it away so long after it was healthy, and stops billing."""
    boot_s: float | None = None


@dataclass
class Machine:
    """One instance, from its launch to its end."""

    id: str
    account: str
    order: schemas.LaunchRequest
    fate: Fate
    launched_at: datetime
    box: Box
    cloud_init: CloudInit
    boots_until: datetime
    status: schemas.Status = "booting"
    healthy_at: datetime | None = None
    ended_at: datetime | None = None
    """Terminated or taken away: billing stops."""

    @property
    def cents_per_hour(self) -> int:
        return TYPES[self.order.instance_type_name].price_cents_per_hour

    @property
    def vanishes_at(self) -> datetime | None:
        if self.healthy_at is None or self.fate.vanishes_after_s is None:
            return None
        return self.healthy_at + timedelta(seconds=self.fate.vanishes_after_s)

    @property
    def is_alive(self) -> bool:
        return self.ended_at is None


class Service:
    """Machines, keys and events of two workspaces."""

    def __init__(self, clock: MovableClock, folder: Path, *, genuine: bool = False, speed: float = 1.0) -> None:
        self.clock = clock
        self.machines: dict[str, Machine] = {}
        self.room: dict[str, tuple[str, ...]] = dict(ROOM)
        self.fates: list[Fate] = []
        """What becomes of the next launches, in order; afterwards all goes well."""
        self.launches: Counter[str] = Counter()
        """By name."""
        self.boot_s = 60.0
        self.ending_s = 5.0
        self.listing_lag_s = 0.0
        self.port = free_port()
        self.training: dict[str, object] = {}
        """Settings of the stand-in trainer in machines that boot from now on."""
        self.furnish: Callable[[Box], None] = lambda _box: None
        """Called with every box before it boots."""
        self._keys: dict[str, tuple[str, schemas.SshKey]] = {}
        self._events: list[tuple[str, datetime, schemas.AuditEvent]] = []
        self._forgotten: set[str] = set()
        self._folder = folder
        self._genuine = genuine
        self._speed = speed
        self._net = (random.randint(80, 250), random.randint(1, 250))  # noqa: S311  an address, no secret
        self.lock = threading.RLock()

    # What is asked

    def offers(self) -> Mapping[str, schemas.Offer]:
        return {
            name: schemas.Offer(
                instance_type=kind, regions_with_capacity_available=[REGIONS[one] for one in self.room.get(name, ())]
            )
            for name, kind in TYPES.items()
        }

    def launch(self, account: str, order: schemas.LaunchRequest) -> str:
        """Make a machine. The same body again makes a second one."""
        (key_name,) = order.ssh_key_names
        key = next((key for owner, key in self._keys.values() if (owner, key.name) == (account, key_name)), None)
        if key is None:
            raise RefusedError(404, "global/object-does-not-exist", f"no ssh key {key_name!r}")
        if order.instance_type_name not in TYPES:
            raise RefusedError(400, "global/invalid-parameters", f"no instance type {order.instance_type_name!r}")
        if order.region_name not in self.room.get(order.instance_type_name, ()):
            raise no_room(order.region_name)
        config = schemas.cloud_config(order.user_data) if order.user_data else schemas.CloudConfig()
        fate = self.fates.pop(0) if self.fates else Fate()
        self.launches[order.name or ""] += 1
        machine = self._machine(account, order, config, fate, key.public_key)
        self.machines[machine.id] = machine
        self._tell(account, "launched", machine.id)
        return machine.id

    def listed(self, account: str) -> Sequence[Machine]:
        seen_from = self.clock.now() - timedelta(seconds=self.listing_lag_s)
        return [one for one in self._of(account) if one.launched_at <= seen_from or not self.listing_lag_s]

    def machine(self, account: str, machine_id: str) -> Machine:
        found = next((one for one in self._of(account) if one.id == machine_id), None)
        if found is None:
            raise RefusedError(404, "global/object-does-not-exist", f"no instance {machine_id!r}")
        return found

    def terminate(self, account: str, ids: Sequence[str]) -> Sequence[Machine]:
        found = [self.machine(account, one) for one in ids]
        if any(not one.is_alive for one in found):
            raise RefusedError(400, "global/unknown", "An unknown error has occurred.")
        for one in found:
            one.status, one.ended_at = "terminating", self.clock.now()
            self._tell(account, "terminated", one.id)
        return found

    def ssh_keys(self, account: str) -> Sequence[schemas.SshKey]:
        return [key for owner, key in self._keys.values() if owner == account]

    def add_ssh_key(self, account: str, order: schemas.SshKeyRequest) -> schemas.SshKey:
        if any(key.name == order.name for key in self.ssh_keys(account)):
            raise RefusedError(400, "global/duplicate", f"ssh key {order.name!r} exists")
        made = schemas.SshKey(id=secrets.token_hex(16), name=order.name, public_key=order.public_key)
        self._keys[made.id] = (account, made)
        return made

    def delete_ssh_key(self, account: str, key_id: str) -> None:
        if self._keys.get(key_id, ("", None))[0] != account:
            raise RefusedError(404, "global/object-does-not-exist", f"no ssh key {key_id!r}")
        del self._keys[key_id]

    def events(self, account: str, start: datetime, end: datetime) -> Sequence[schemas.AuditEvent]:
        return [event for owner, at, event in self._events if owner == account and start <= at <= end]

    # What a test knows and may do

    @property
    def user(self) -> str:
        """Who may log in to the machines."""
        return getpass.getuser()

    def named(self, name: str) -> Sequence[Machine]:
        """All machines that ever had the name, oldest first."""
        return [one for one in self.machines.values() if one.order.name == name]

    def alive(self) -> Sequence[Machine]:
        """Machines that cost, or may."""
        return [one for one in self.machines.values() if one.is_alive]

    def invoice(self, machine: Machine) -> Decimal:
        """USD, as the invoice will say: each begun minute from healthy to terminate."""
        if machine.healthy_at is None:
            return Decimal(0)
        lived = (machine.ended_at or self.clock.now()) - machine.healthy_at
        minutes = -(-max(lived, timedelta(0)) // timedelta(minutes=1))
        return Decimal(minutes) * machine.cents_per_hour / 6000

    def take_away(self, machine: Machine, status: schemas.Status = "terminated") -> None:
        """Lambda ends a machine: preempted, or lost without a word."""
        with self.lock:
            machine.status, machine.ended_at = status, self.clock.now()
            self._switch_off(machine)

    def forget(self, machine: Machine) -> None:
        """Lambda does not know it any more."""
        if machine.is_alive:
            self.take_away(machine)
        self._forgotten.add(machine.id)

    def tick(self) -> None:
        """What time has brought: boots that are over, ends that are over."""
        with self.lock:
            now = self.clock.now()
            for one in self.machines.values():
                self._move(one, now)

    def close(self) -> None:
        """End all machines and everything in them."""
        with self.lock:
            for one in self.machines.values():
                self._switch_off(one)

    def processes(self) -> list[int]:
        """What is left of all machines: nothing, after `close`."""
        return [pid for one in self.machines.values() for pid in one.box.processes()]

    def _move(self, one: Machine, now: datetime) -> None:
        match one.status:
            case "booting" if one.fate.boots and now >= one.boots_until:
                self._boot(one)
            case "active" if one.vanishes_at is not None and now >= one.vanishes_at:
                self.forget(one)
            case "terminating" if one.ended_at is not None and now >= one.ended_at + timedelta(seconds=self.ending_s):
                one.status = "terminated"
                self._switch_off(one)

    def _boot(self, one: Machine) -> None:
        if not one.fate.is_healthy:
            one.status = "unhealthy"
            return
        one.box.furnish()
        if self.training:
            one.box.train(self.training)
        self.furnish(one.box)
        one.cloud_init.write_files()
        one.box.start()
        one.cloud_init.run_commands()
        one.status, one.healthy_at = "active", max(one.boots_until, one.launched_at)

    def _switch_off(self, one: Machine) -> None:
        one.cloud_init.stop()
        one.box.end()
        one.cloud_init.join()
        one.box.end()  # what a service's keeper began at the last moment

    def _of(self, account: str) -> Sequence[Machine]:
        """Those that Lambda shows: ended ones are gone after a moment."""
        now = self.clock.now()
        return [
            one
            for one in self.machines.values()
            if one.account == account
            and one.id not in self._forgotten
            and (one.status != "terminated" or one.ended_at is None or _is_fresh(one.ended_at, now, self.ending_s))
        ]

    def _machine(
        self, account: str, order: schemas.LaunchRequest, config: schemas.CloudConfig, fate: Fate, public_key: str
    ) -> Machine:
        number = len(self.machines) + 1
        host_key = config.ssh_keys.ed25519_private if config.ssh_keys and fate.has_our_host_key else stranger()
        box = Box(
            self._folder / f"box-{number}",
            f"127.{self._net[0]}.{self._net[1]}.{number}",
            self.port,
            host_key,
            [public_key],
            gpu=fate.gpu if TYPES[order.instance_type_name].specs.gpus else Gpu(names=(), cuda=None),
            genuine=self._genuine,
            speed=self._speed,
        )
        now = self.clock.now()
        boot_s = self.boot_s if fate.boot_s is None else fate.boot_s
        return Machine(
            id=secrets.token_hex(16),
            account=account,
            order=order,
            fate=fate,
            launched_at=now,
            box=box,
            cloud_init=CloudInit(box, config, f"/home/{box.user}/"),
            boots_until=now + timedelta(seconds=boot_s),
        )

    def _tell(self, account: str, action: str, machine_id: str) -> None:
        now = self.clock.now()
        event = schemas.AuditEvent(
            service_name="cloud",
            resource_name="instance",
            action=f"instance.{action}",
            event_id=secrets.token_hex(8),
            event_time=rfc3339(now),
            resource_lrns=[f"lrn:v1:instance:{machine_id}"],
        )
        self._events.append((account, now, event))


def no_room(region: str) -> RefusedError:
    words = f"Not enough capacity to fulfill launch request in {region}."
    return RefusedError(400, "instance-operations/launch/insufficient-capacity", words)


def stranger() -> str:
    """The host key of a machine that is not the one that was launched."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "key")
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(command, check=True)
        return path.read_text()


def _is_fresh(ended_at: datetime, now: datetime, ending_s: float) -> bool:
    return now < ended_at + timedelta(seconds=ending_s + _GONE_FROM_LISTS_S)
