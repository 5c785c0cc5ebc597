"""The dead man's switch: when a machine must end, and whom it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.emulators.lambda_cloud import schemas
from ftorch.emulators.lambda_cloud.emulator import SWITCH_KEY, LambdaEmulator
from ftorch.providers.lambda_cloud.switch import Config, Switch, born_at, end

NAME = "ft-abc123-01m6bfp5g0wzffesc3pkw68675"
MINUTE = 60.0


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config("http://127.0.0.1:1", "k", NAME, "m1", str(tmp_path / "run"), 6 * 3600.0, 1800.0, 900.0, None)


def write(config: Config, name: str, text: str = "{}") -> None:
    path = Path(config.folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.new")
    aside.write_text(text)
    aside.replace(path)


def test_a_young_machine_lives(config: Config) -> None:
    assert Switch(config, 0.0).reason(20 * MINUTE) == ""


def test_a_machine_ends_a_minute_before_its_money_does_whatever_it_does(config: Config) -> None:
    switch = Switch(config, 0.0)
    write(config, "process.json")
    for minute in range(0, 359, 5):
        write(config, "out/heartbeat.json", str(minute))
        assert switch.reason(minute * MINUTE) == ""

    assert "budget" in switch.reason(6 * 3600.0 - MINUTE)


def test_nobody_came(config: Config) -> None:
    assert Switch(config, 0.0).reason(30 * MINUTE) == "nothing was started"


def test_a_look_from_home_extends_the_grace(config: Config) -> None:
    switch = Switch(config, 0.0)
    write(config, "lease")
    assert switch.reason(25 * MINUTE) == ""

    assert switch.reason(50 * MINUTE) == ""
    assert switch.reason(55 * MINUTE) == "nothing was started"


def test_work_that_goes_quiet_is_ended(config: Config) -> None:
    switch = Switch(config, 0.0)
    write(config, "process.json")
    write(config, "out/heartbeat.json", "1")
    assert switch.reason(40 * MINUTE) == ""

    assert switch.reason(54 * MINUTE) == ""
    assert switch.reason(55 * MINUTE) == "the work has gone quiet"


def test_a_heartbeat_with_a_wrong_clock_counts_all_the_same(config: Config) -> None:
    switch = Switch(config, 0.0)
    write(config, "process.json")
    for minute in range(1, 120, 10):
        write(config, "out/heartbeat.json", f"1970 {minute}")
        assert switch.reason(minute * MINUTE) == ""


def test_work_that_began_without_a_heartbeat_has_its_time(config: Config) -> None:
    switch = Switch(config, 0.0)
    write(config, "process.json")

    assert switch.reason(100 * MINUTE) == ""
    assert switch.reason(116 * MINUTE) == "the work has gone quiet"


def test_a_finished_adapter_waits_until_the_budget_ends(config: Config) -> None:
    switch = Switch(config, 0.0)
    write(config, "process.json")
    write(config, "out/result.json")

    assert [switch.reason(hour * 3600.0) for hour in (1, 3, 5)] == ["", "", ""]


def test_a_finished_adapter_that_is_home_keeps_no_machine(config: Config) -> None:
    switch = Switch(config, 0.0)
    write(config, "process.json")
    write(config, "out/result.json")
    write(config, "fetched")

    assert switch.reason(10 * MINUTE) == "the adapter is home"


def test_a_finished_adapter_waits_as_long_as_the_manifest_says(config: Config) -> None:
    switch = Switch(replace(config, hold_s=3600.0), 0.0)
    write(config, "process.json")
    write(config, "out/result.json")
    assert switch.reason(30 * MINUTE) == ""

    assert switch.reason(89 * MINUTE) == ""
    assert switch.reason(90 * MINUTE) == "nobody fetched the adapter"


def test_the_life_of_a_machine_goes_on_when_its_switch_is_started_again(tmp_path: Path) -> None:
    first = born_at(tmp_path / "var" / "born")
    time.sleep(0.01)

    assert born_at(tmp_path / "var" / "born") == first


def test_the_key_does_not_show(config: Config) -> None:
    assert "k'" not in repr(config)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[LambdaEmulator]:
    with LambdaEmulator(ManualClock(), tmp_path / "lambda") as emulator:
        emulator.service.boot_s = 3600.0
        yield emulator


def launch(emulator: LambdaEmulator, name: str, mark: str | None) -> str:
    account = "workspace-tiny"
    if not emulator.service.ssh_keys(account):
        emulator.service.add_ssh_key(account, schemas.SshKeyRequest(name="one", public_key="ssh-ed25519 AAAA"))
    tags = [schemas.Tag(key="ftorch-sent", value=mark)] if mark else None
    order = schemas.LaunchRequest(
        region_name="us-east-1", instance_type_name="gpu_1x_a10", ssh_key_names=["one"], name=name, tags=tags
    )
    return emulator.service.launch(account, order)


def test_a_switch_ends_its_own_machine_and_not_its_namesake(emulator: LambdaEmulator, config: Config) -> None:
    mine, namesake = launch(emulator, NAME, "m1"), launch(emulator, NAME, "m2")
    other = launch(emulator, "ft-abc123-01m6bfp5g0wzffesc3pkw68676", "m1")

    end(replace(config, url=emulator.api, key=SWITCH_KEY))

    alive = {one.id for one in emulator.service.alive()}
    assert alive == {namesake, other}
    assert mine not in alive


def test_a_switch_that_sees_no_marks_ends_what_has_its_name(emulator: LambdaEmulator, config: Config) -> None:
    launch(emulator, NAME, None)

    end(replace(config, url=emulator.api, key=SWITCH_KEY))

    assert emulator.service.alive() == []


def test_the_switch_is_what_the_machine_is_told(tmp_path: Path, config: Config) -> None:
    told = {**vars(config), "hold_s": 60.0}

    assert Config(**json.loads(json.dumps(told))) == replace(config, hold_s=60.0)
