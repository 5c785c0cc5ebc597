"""The emulated Modal by itself: queues, names, time-outs, commits, and what it does not serve."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from contract.modal_bench import StandIn
from e2e.shell import until
from ftorch.core.clock import ManualClock
from ftorch.emulators.modal import TOKEN_ID, TOKEN_SECRET, WORKSPACE, Container, ModalEmulator, Service, commit
from ftorch.emulators.modal.sandboxes import Order, Sandbox, Status
from ftorch.emulators.modal.volumes import Volume
from ftorch.emulators.modal.work import Processes
from ftorch.emulators.server import RefusedError
from ftorch.providers.modal.provider import ModalProvider
from ftorch.providers.modal.settings import Settings


class Idle(StandIn):
    """Nobody works, and nothing ends by itself."""

    def start(self, container: object, told: object, ended: object) -> None:
        pass

    def look(self) -> None:
        pass


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def service(clock: ManualClock, tmp_path: Path) -> Service:
    return Service(clock, tmp_path, Idle(clock))


def order(name: str = "one", **changes: object) -> Order:
    values: dict[str, object] = {
        "app_id": "ap-1",
        "name": name,
        "tags": {"team": "a"},
        "argv": ("true",),
        "volumes": {},
        "secret_ids": (),
        "image_id": "im-1",
        "gpu": "T4",
        "gpu_count": 1,
        "cores": Decimal(1),
        "memory_gib": Decimal(16),
        "timeout_s": 600,
    }
    return Order(**{**values, **changes})  # type: ignore[arg-type]  # a table of values


def test_a_name_is_taken_while_its_sandbox_lives(service: Service) -> None:
    first = service.create(WORKSPACE, order())
    with pytest.raises(RefusedError, match="is running"):
        service.create(WORKSPACE, order())

    service.terminate(first)

    assert service.create(WORKSPACE, order()).id != first.id


def test_the_same_call_again_makes_no_second_sandbox(service: Service) -> None:
    first = service.create(WORKSPACE, order(), "key-1")

    assert service.create(WORKSPACE, order(), "key-1") is first
    assert service.creates["one"] == 1


def test_a_sandbox_waits_for_its_machine_and_costs_nothing_meanwhile(service: Service, clock: ManualClock) -> None:
    service.queue_delay_s = 60
    one = service.create(WORKSPACE, order())
    clock.advance(59)
    service.look()
    assert (one.task_id, list(one.costs(clock.now()))) == ("", [])

    clock.advance(1)
    service.look()

    assert one.started_at == clock.now()


def test_a_sandbox_runs_out_of_its_time_to_the_second(service: Service, clock: ManualClock) -> None:
    one = service.create(WORKSPACE, order(timeout_s=100))
    clock.advance(5000)

    service.look()

    assert (one.status, one.ended_at) == (Status.TIMEOUT, one.created_at + timedelta(seconds=100))


@pytest.mark.parametrize("timeout_s", [0, 24 * 3600 + 1])
def test_a_timeout_that_modal_does_not_take_is_refused(service: Service, timeout_s: int) -> None:
    with pytest.raises(RefusedError, match="24 h"):
        service.create(WORKSPACE, order(timeout_s=timeout_s))


def test_a_gpu_that_nobody_has_is_refused(service: Service) -> None:
    with pytest.raises(RefusedError, match="H1000"):
        service.create(WORKSPACE, order(gpu="H1000"))


def test_the_bill_has_a_row_for_each_app_and_hour(service: Service, clock: ManualClock) -> None:
    app_id = service.app(WORKSPACE, "ftorch-abc123", create=True)
    clock.advance(3000)
    one = service.create(WORKSPACE, order(app_id=app_id, timeout_s=7200))
    clock.advance(1800)

    rows = service.rows(WORKSPACE)

    rate = Decimal("0.59") + Decimal("0.1419") + Decimal("0.384")
    expected = [(12, round(rate * 600 / 3600, 6)), (13, round(rate * 1200 / 3600, 6))]
    assert [(row.hour.hour, round(row.usd, 6)) for row in rows] == expected
    assert sum(usd for _, cost in one.costs(clock.now()) for usd in cost.values()) == sum(row.usd for row in rows)


def test_what_was_not_committed_is_lost_with_the_machine(tmp_path: Path, clock: ManualClock) -> None:
    volume, work = Volume(tmp_path / "volume", clock), Processes(tmp_path)
    script = (
        "import pathlib, subprocess, sys, time\n"
        "mount = pathlib.Path('/data')\n"
        "(mount / 'kept').write_text('a')\n"
        "subprocess.run(['sync', '/data'])\n"
        "(mount / 'lost').write_text('b')\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    lines: list[str] = []
    container = Container("sb-1", ("python", "-c", script), {}, {"/data": volume})
    work.start(container, lines.append, lambda _code: None)
    until(lambda: "ready\n" in lines)

    work.kill("sb-1", is_committed=False)

    assert [entry.path for entry in volume.entries("/", recursive=True)] == ["kept"]
    work.close()


def test_what_a_sandbox_leaves_in_good_order_is_committed(tmp_path: Path, clock: ManualClock) -> None:
    volume, work, codes = Volume(tmp_path / "volume", clock), Processes(tmp_path), list[int]()
    volume.write("old", b"x")
    script = "import os; open('/data/new', 'w').write('a'); os.remove('/data/old'); raise SystemExit(7)"

    work.start(Container("sb-1", ("python", "-c", script), {}, {"/data": volume}), lambda _line: None, codes.append)
    until(lambda: codes)

    assert codes == [7]
    assert [entry.path for entry in volume.entries("/", recursive=True)] == ["new"]
    work.close()


def test_a_result_is_committed_after_what_it_names(tmp_path: Path) -> None:
    mount, volume = tmp_path / "mount", tmp_path / "volume"
    (mount / "out" / "adapter").mkdir(parents=True)
    volume.mkdir()
    commit.remember(mount)
    for name in ("out/result.json", "out/adapter/weights", "out/.complete", "out/zzz"):
        (mount / name).write_text("x")

    commit.commit(mount, volume)

    times = {path.name: path.stat().st_ctime_ns for path in volume.rglob("*") if path.is_file()}
    assert max(times["weights"], times["zzz"]) < min(times["result.json"], times[".complete"])


def test_a_path_that_leaves_the_volume_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(RefusedError, match="leaves the volume"):
        Volume(tmp_path, clock).read("../secret")


@pytest.fixture
def emulator(clock: ManualClock, tmp_path: Path) -> Iterator[ModalEmulator]:
    with ModalEmulator(clock, folder=tmp_path, work=Idle(clock)) as emulator:
        yield emulator


def test_what_it_does_not_serve_is_unimplemented(emulator: ModalEmulator) -> None:
    code = (
        "import modal\n"
        f"client = modal.Client.from_credentials({TOKEN_ID!r}, {TOKEN_SECRET!r})\n"
        "try:\n    modal.Dict.from_name('d', create_if_missing=True, client=client).hydrate(client)\n"
        "except modal.exception.UnimplementedError as error:\n    print(error)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"MODAL_SERVER_URL": emulator.url},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "does not serve DictGetOrCreate" in done.stdout, done.stderr
    assert emulator.unserved == {"DictGetOrCreate"}


def test_an_answer_waits_for_no_acknowledgement(emulator: ModalEmulator, clock: ManualClock, tmp_path: Path) -> None:
    provider = ModalProvider(Settings(TOKEN_ID, TOKEN_SECRET, emulator.url), clock, tmp_path)
    took_s = []

    for _ in range(20):
        began_s = time.perf_counter()
        provider.check()
        took_s.append(time.perf_counter() - began_s)
    provider.close()

    # With the delay each takes 40 ms and more; the quickest of twenty is not slowed by a busy machine.
    assert min(took_s) < 0.03


def test_sandboxes_of_another_workspace_do_not_exist(service: Service) -> None:
    one: Sandbox = service.create(WORKSPACE, order())

    with pytest.raises(RefusedError):
        service.sandbox("other-workspace", one.id)
