"""What a launch says: name, marks, keys, and how long the machine may live."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ftorch.core.errors import CredentialsError
from ftorch.emulators.lambda_cloud.schemas import CloudConfig, cloud_config
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Placement, RunOrder, Staged
from ftorch.providers.lambda_cloud.orders import DEFAULT_LIFE_S, check_switch, launch, life_s
from ftorch.providers.lambda_cloud.settings import Settings
from ftorch.providers.lambda_cloud.switch import Config
from ftorch.providers.ssh.keys import derived
from unit.plans import plan

KEY = "ft-abc123-01m6bfp5g0wzffesc3pkw68675"
SETTINGS = Settings("https://cloud.lambda.ai/api/v1/", "key", "switch-key")
PLACE = Placement(
    "gpu_1x_a10@us-east-1", Decimal("1.29"), {"type": "gpu_1x_a10", "region": "us-east-1", "cents": "129", "gpus": "1"}
)
HOST_KEY = derived("key", "host")


def order(one: Plan | None = None, **changes: Any) -> RunOrder:
    values: dict[str, Any] = {
        "key": KEY,
        "plan": one or plan(providers=("lambda",)),
        "staged": Staged(True, "b"),
        "placement": PLACE,
        "send_before": datetime(2026, 11, 1, tzinfo=UTC),
        "max_duration_s": 1800,
        **changes,
    }
    return RunOrder(**values)


def config_of(ordered: RunOrder) -> CloudConfig:
    return cloud_config(launch(ordered, SETTINGS, HOST_KEY, "m1").user_data)


def switch_of(ordered: RunOrder) -> Config:
    (told,) = (file for file in config_of(ordered).write_files if file.path.endswith(".json"))
    assert told.permissions == "0600"
    return Config(**json.loads(told.content))


def test_the_machine_carries_the_key_as_its_name_and_the_launch_as_its_mark() -> None:
    body = launch(order(), SETTINGS, HOST_KEY, "m1")

    assert (body.name, body.ssh_key_names) == (KEY, (KEY,))
    assert {tag.key: tag.value for tag in body.tags} == {"ftorch-sent": "m1", "ftorch-installation": "abc123"}
    assert len(body.user_data) < 1 << 20


def test_the_machine_has_our_host_key_and_no_other() -> None:
    config = config_of(order())

    assert config.ssh_deletekeys
    assert config.ssh_keys is not None
    assert config.ssh_keys.ed25519_private == HOST_KEY.private
    assert config.ssh_keys.ed25519_public.strip() == HOST_KEY.public


def test_the_switch_lives_as_long_as_the_run_holds_money() -> None:
    assert switch_of(order(max_life_s=21_600)).max_life_s == 21_600


@pytest.mark.parametrize(
    ("max_life_s", "max_duration_s", "expected"),
    [(5000, 100, 5000), (None, 1800, 1800 + 3600), (None, None, DEFAULT_LIFE_S)],
)
def test_every_machine_has_an_end(max_life_s: int | None, max_duration_s: int | None, expected: float) -> None:
    assert life_s(order(max_life_s=max_life_s, max_duration_s=max_duration_s)) == expected


def test_the_adapter_waits_until_the_budget_ends_unless_the_manifest_says_otherwise() -> None:
    short = plan(providers=("lambda",), options={"lambda": {"hold_minutes": 90}})

    assert switch_of(order()).hold_s is None
    assert switch_of(order(short)).hold_s == 5400


def test_the_switch_knows_its_machine_and_where_to_ask() -> None:
    told = switch_of(order())

    assert (told.name, told.mark, told.key) == (KEY, "m1", "switch-key")
    assert told.url == "https://cloud.lambda.ai/api/v1"
    assert told.folder == f"/home/ubuntu/ftorch/runs/{KEY}"


def test_a_machine_without_a_switch_is_only_launched_when_the_manifest_says_so() -> None:
    without = Settings("https://cloud.lambda.ai/api/v1", "key")
    given_up = plan(providers=("lambda",), options={"lambda": {"dead_man": False}})

    with pytest.raises(CredentialsError, match="LAMBDA_DEADMAN_API_KEY"):
        check_switch(plan(providers=("lambda",)), without)
    check_switch(given_up, without)
    assert config_of(order(given_up)).write_files == []


def test_no_key_shows_in_a_repr() -> None:
    body = launch(order(), SETTINGS, HOST_KEY, "m1")

    shown = repr((SETTINGS, body, HOST_KEY))
    assert "switch-key" not in shown
    assert "PRIVATE KEY" not in shown
