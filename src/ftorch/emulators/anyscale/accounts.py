"""Who may come in, and what each organisation has: a cloud, a project, and machines at a price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

TOKEN = "aph0_4f1c09-token-of-the-emulator"  # noqa: S105  nobody else's
COLLEAGUE_TOKEN = "aph0_7d20ab-token-of-a-colleague"  # noqa: S105  nobody else's
"""Another person's of the same organisation."""
OTHER_TOKEN = "aph0_e3b771-token-of-strangers"  # noqa: S105  nobody else's
"""Of another organisation."""
ORGANISATION, OTHER_ORGANISATION = "org_tinysupport", "org_strangers"


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where an organisation's machines are. `is_hosted`: they are Anyscale's, and on its bill."""

    id: str
    name: str
    organisation: str
    project: str
    is_hosted: bool
    is_default: bool = True


@dataclass(frozen=True, slots=True)
class Account:
    """What a token stands for."""

    organisation: str
    organisation_name: str
    user: str
    email: str


ACCOUNTS: Mapping[str, Account] = {
    TOKEN: Account(ORGANISATION, "Tiny Support", "usr_ada", "ada@tiny.example"),
    COLLEAGUE_TOKEN: Account(ORGANISATION, "Tiny Support", "usr_ben", "ben@tiny.example"),
    OTHER_TOKEN: Account(OTHER_ORGANISATION, "Strangers", "usr_eve", "eve@strange.example"),
}
CLOUDS: Mapping[str, Cloud] = {
    one.id: one
    for one in (
        Cloud("cld_tinyhosted", "hosted", ORGANISATION, "prj_tinyhosted", is_hosted=True),
        Cloud("cld_tinyaws", "tiny-aws", ORGANISATION, "prj_tinyaws", is_hosted=False, is_default=False),
        Cloud("cld_strangers", "hosted", OTHER_ORGANISATION, "prj_strangers", is_hosted=True),
    )
}
_CPUS = Decimal("0.1080")
PER_HOUR: Mapping[str, Decimal] = {
    "": _CPUS,
    "T4": Decimal("0.5682") + _CPUS,
    "L4": Decimal("0.9542") + _CPUS,
    "A10G": Decimal("1.3635") + _CPUS,
    "A100-80G": Decimal("4.9591") + _CPUS,
    "H100": Decimal("9.2880") + _CPUS,
    "H200": Decimal("10.6812") + _CPUS,
}
"""USD for an hour of a machine with eight CPUs, by its accelerator."""
INSTANCE_TYPES: Mapping[str, str] = {"m5.2xlarge": "", "g4dn.2xlarge": "T4", "g6.2xlarge": "L4", "g5.2xlarge": "A10G"}
"""Accelerators by the names of machines."""
FEE = Decimal("0.2")
"""What of the price is on Anyscale's bill where the machines are the organisation's own."""


def clouds_of(organisation: str) -> list[Cloud]:
    return [cloud for cloud in CLOUDS.values() if cloud.organisation == organisation]


def cloud_of(organisation: str, cloud_id: str) -> Cloud | None:
    """The cloud of this id; None for one that the organisation has not."""
    cloud = CLOUDS.get(cloud_id)
    return cloud if cloud and cloud.organisation == organisation else None


def default_cloud(organisation: str) -> Cloud:
    return next(cloud for cloud in clouds_of(organisation) if cloud.is_default)
