"""From an order to a launch: how long its machine may live, and what its switch is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ftorch.core.errors import CredentialsError
from ftorch.core.ids import installation_of
from ftorch.manifest.plan import Plan
from ftorch.providers.base import RunOrder
from ftorch.providers.lambda_cloud.api import Launch, Tag
from ftorch.providers.lambda_cloud.capabilities import CAPABILITIES
from ftorch.providers.lambda_cloud.machines import SENT
from ftorch.providers.lambda_cloud.settings import SWITCH_KEY, Settings
from ftorch.providers.lambda_cloud.userdata import user_data
from ftorch.providers.ssh.keys import KeyPair

BOOT_GRACE_S = 30 * 60.0
STALE_S = 15 * 60.0
DEFAULT_LIFE_S = 24 * 3600.0
"""A machine of a job that names neither a budget nor a longest duration."""
_SMALL_BOOT = timedelta(minutes=15)
_LARGE_BOOT = timedelta(minutes=30)
_FEW_GPUS = 2


def options(plan: Plan) -> Mapping[str, Any]:
    return plan.options.get("lambda", {})


def has_switch(plan: Plan) -> bool:
    return bool(options(plan).get("dead_man", True))


def check_switch(plan: Plan, settings: Settings) -> None:
    """Refuse a plan whose machine nobody could end. Before anything is sent."""
    if has_switch(plan) and settings.switch_key is None:
        raise CredentialsError(
            f"lambda needs a key for the machine's own switch: {SWITCH_KEY} is not set",
            hint="make a second key, best in a workspace of its own; or give up the switch with "
            "`provider: {name: lambda, lambda: {dead_man: false}}`",
        )


def life_s(order: RunOrder) -> float:
    """How long the machine may live: as long as what is held for the run pays for it."""
    if order.max_life_s is not None:
        return order.max_life_s
    if order.max_duration_s is None:
        return DEFAULT_LIFE_S
    return order.max_duration_s + CAPABILITIES.overhead_s


def boot_timeout(gpus: int) -> timedelta:
    """Large machines were seen to take 25 minutes."""
    return _SMALL_BOOT if gpus <= _FEW_GPUS else _LARGE_BOOT


def launch(order: RunOrder, settings: Settings, host_key: KeyPair, mark: str) -> Launch:
    """The body of the run's launch. `mark` tells two launches under one key apart, the earlier one first."""
    switch = _switch(order, settings, mark) if has_switch(order.plan) else None
    return Launch(
        region_name=order.placement.detail["region"],
        instance_type_name=order.placement.detail["type"],
        ssh_key_names=(order.key,),
        name=order.key,
        user_data=user_data(host_key, switch),
        tags=(Tag(key=SENT, value=mark), Tag(key="ftorch-installation", value=installation_of(order.key) or "")),
    )


def cents(rate: Decimal | None) -> int:
    return int((rate or Decimal(0)) * 100)


def _switch(order: RunOrder, settings: Settings, mark: str) -> dict[str, Any]:
    hold_minutes = options(order.plan).get("hold_minutes")
    return {
        "url": settings.url.rstrip("/"),
        "key": settings.switch_key,
        "name": order.key,
        "mark": mark,
        "folder": f"/home/{settings.ssh_user}/ftorch/runs/{order.key}",
        "max_life_s": life_s(order),
        "boot_grace_s": BOOT_GRACE_S,
        "stale_s": STALE_S,
        "hold_s": None if hold_minutes is None else hold_minutes * 60.0,
    }
