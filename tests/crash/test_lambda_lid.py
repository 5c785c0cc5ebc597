"""The laptop is closed and never opened again: every machine is gone in its time, within its budget plus one minute.

Real switches in real machines, at sixty times the speed. One afternoon holds every stage, for they take their time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from crash.rented import LIMIT, Rented, fast
from e2e.shell import kill
from ftorch.emulators.boxes.box import Box
from ftorch.emulators.lambda_cloud.service import Fate, Machine
from ftorch.jobs.serial import ref
from ftorch.providers.ssh import box as driver

_SPEED = 60.0
_LONGEST_S = 240.0
_MINUTE = timedelta(minutes=1)


def furnisher(settings: Sequence[Mapping[str, object]]) -> Callable[[Box], None]:
    """Gives each box that boots the next settings of the stand-in trainer."""
    waiting = iter(settings)
    return lambda box: box.train(next(waiting, {"seconds": 1.0}))


def only(rented: Rented, job: str) -> Machine:
    (machine,) = rented.machines(rented.runs(job)[-1])
    return machine


def is_in(rented: Rented, job: str, state: str) -> bool:
    return [run.state for run in rented.runs(job)] == [state]


def fetch_by(rented: Rented, run: object, dest: Path) -> None:
    """What a laptop that is opened again does first."""
    provider = rented.make_provider()
    dest.mkdir()
    artifact = provider.fetch(run, dest)  # type: ignore[arg-type]  # the run's ref
    assert (artifact.folder / "adapter_model.safetensors").is_file()
    provider.close()


def lived(machine: Machine) -> timedelta:
    assert machine.ended_at is not None
    assert machine.healthy_at is not None
    return machine.ended_at - machine.healthy_at


@pytest.mark.timeout(900)
def test_closed_at_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fast(tmp_path, _SPEED) as rented:
        price = Decimal(129) / 100
        life = timedelta(hours=float(LIMIT.amount / price))
        never_started: set[str] = set()
        start = driver.Box.start

        def start_some(self: driver.Box, key: str, env: dict[str, str], *, parallel: int = 1) -> bool:
            return key not in never_started and start(self, key, env, parallel=parallel)

        monkeypatch.setattr(driver.Box, "start", start_some)
        monkeypatch.setattr("ftorch.providers.lambda_cloud.provider.Box.fetch", _never)
        rented.service.furnish = furnisher([{"seconds": 1.0}] * 3 + [{"seconds": 45.0}, {"seconds": 500.0}])

        held, fetched_later, fetched = (rented.submit() for _ in range(3))
        rented.run_until(lambda: all(is_in(rented, job, "succeeded") for job in (held, fetched_later, fetched)))
        training, killed = rented.submit(), rented.submit()
        rented.run_until(lambda: all(is_in(rented, job, "running") for job in (training, killed)))
        waiting = rented.submit()
        rented.run_until(lambda: bool(rented.runs(waiting)))
        never_started.add(rented.runs(waiting)[0].key)
        rented.run_until(lambda: _is_made(rented, waiting))
        rented.service.fates = [Fate(boot_s=300.0)]
        booting = rented.submit()
        rented.run_until(lambda: is_in(rented, booting, "provisioned"))
        rows = {job: rented.runs(job)[0] for job in (held, fetched_later, fetched)}
        machines = {
            name: only(rented, job)
            for name, job in {
                "held": held,
                "fetched later": fetched_later,
                "fetched": fetched,
                "training": training,
                "killed": killed,
                "waiting": waiting,
                "booting": booting,
            }.items()
        }
        monkeypatch.undo()
        fetch_by(rented, ref(rows[fetched]), tmp_path / "home-1")
        closed_at = rented.clock.now()
        rented.close_lid()
        kill(_pid(machines["killed"]))

        wait(lambda: machines["fetched"].ended_at is not None)
        wait(lambda: rented.clock.now() >= closed_at + timedelta(minutes=25))
        assert machines["held"].is_alive
        fetch_by(rented, ref(rows[fetched_later]), tmp_path / "home-2")
        wait(lambda: not rented.service.alive())

        after = {name: one.ended_at - closed_at for name, one in machines.items() if one.ended_at}
        # What a minute is long here is a second of a busy machine: what is asked for is the order of magnitude.
        assert after["fetched"] <= 5 * _MINUTE
        assert timedelta(minutes=8) <= after["killed"] <= timedelta(minutes=25)
        assert timedelta(minutes=25) <= after["fetched later"] <= timedelta(minutes=32)
        assert timedelta(minutes=24) <= after["waiting"] <= timedelta(minutes=40)
        assert timedelta(minutes=30) <= after["booting"] <= timedelta(minutes=45)
        for name in ("held", "training"):
            assert life - 4 * _MINUTE <= lived(machines[name]) <= life + _MINUTE, name
        for name, one in machines.items():
            assert rented.service.invoice(one) <= LIMIT.amount + price / 60, name
        assert rented.service.processes() == []


@pytest.mark.timeout(600)
def test_switch_and_laptop_end_the_same_machine_at_once(tmp_path: Path) -> None:
    """The switch sees that the adapter is home while the laptop releases: nobody minds who was first."""
    with fast(tmp_path, _SPEED) as rented:
        for _ in range(3):
            job = rented.submit()
            assert rented.finish(job).state == "succeeded"
            assert rented.faults(job, exact=False) == []


def _is_made(rented: Rented, job: str) -> bool:
    key = rented.runs(job)[0].key
    return any((one.box.home / "ftorch/runs" / key / "job.json").exists() for one in rented.service.named(key))


def _pid(machine: Machine) -> int:
    path = machine.box.home / "ftorch/runs" / (machine.order.name or "") / "process.json"
    return int(json.loads(path.read_text())["pid"])


def _never(*_: object) -> None:
    from ftorch.core.errors import ProviderUnavailableError

    raise ProviderUnavailableError("the train is in a tunnel", provider="lambda", operation="fetch")


def wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while not is_so():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.05)
