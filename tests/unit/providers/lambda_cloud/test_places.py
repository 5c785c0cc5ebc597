"""Which machines fit a plan, and in which order they are tried."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import RunRejectedError
from ftorch.core.paths import Home
from ftorch.emulators.lambda_cloud.catalogue import REGIONS, ROOM, TYPES
from ftorch.emulators.lambda_cloud.schemas import value
from ftorch.providers.lambda_cloud.api import InstanceType, Offer, Region
from ftorch.providers.lambda_cloud.places import Avoided, placements

OFFERS = [
    Offer(
        instance_type=InstanceType.model_validate(value(kind)),
        regions_with_capacity_available=tuple(Region(name=one) for one in ROOM.get(name, ())),
    )
    for name, kind in TYPES.items()
]
FULL = [offer.model_copy(update={"regions_with_capacity_available": ()}) for offer in OFFERS]
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def names(*wanted: str, offers: Sequence[Offer] = OFFERS, region: str | None = None) -> list[str]:
    return [place.name for place in placements(offers, wanted, region, {})]


def test_the_cheapest_machine_with_one_gpu_and_room_comes_first() -> None:
    assert names() == [
        "gpu_1x_a10@us-east-1",
        "gpu_1x_a10@us-west-1",
        "gpu_1x_a100_sxm4@us-east-1",
        "gpu_1x_h100_pcie@us-west-1",
    ]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("A10", ["gpu_1x_a10@us-east-1", "gpu_1x_a10@us-west-1"]),
        ("a100", ["gpu_1x_a100_sxm4@us-east-1"]),
        ("A100-40GB", ["gpu_1x_a100_sxm4@us-east-1"]),
        ("H100", ["gpu_1x_h100_pcie@us-west-1"]),
        ("H100-80GB", ["gpu_1x_h100_pcie@us-west-1"]),
        ("cpu_4x_general", ["cpu_4x_general@us-east-1"]),
        ("gpu_8x_a100_80gb_sxm4", ["gpu_8x_a100_80gb_sxm4@us-east-1"]),
    ],
)
def test_a_gpu_is_named_as_people_do_or_as_lambda_does(wanted: str, found: list[str]) -> None:
    assert names(wanted) == found


@pytest.mark.parametrize("wanted", ["A100-80GB", "B300", "A1"])
def test_a_gpu_that_there_is_not_alone_is_refused_in_words(wanted: str) -> None:
    with pytest.raises(RunRejectedError, match=f"lambda has no machine with {wanted}") as caught:
        names(wanted)

    assert "gpu_1x_a10" in (caught.value.hint or "")


def test_a_region_may_be_asked_for() -> None:
    assert names("A10", region="us-west-1") == ["gpu_1x_a10@us-west-1"]


def test_where_there_is_no_room_the_price_is_told_all_the_same() -> None:
    found = placements(FULL, ["A10"], None, {})

    assert [(place.name, place.detail["region"], place.rate) for place in found] == [
        ("gpu_1x_a10", "", found[0].rate),
    ]
    assert str(found[0].rate) == "1.29"


def test_a_place_that_gave_a_dead_machine_comes_only_when_there_is_no_other() -> None:
    avoided = {"gpu_1x_a10@us-east-1": NOW}

    assert [place.name for place in placements(OFFERS, ["A10"], None, avoided)] == ["gpu_1x_a10@us-west-1"]
    both = {**avoided, "gpu_1x_a10@us-west-1": NOW}
    assert len(placements(OFFERS, ["A10"], None, both)) == 2


def test_a_dead_machine_is_remembered_for_an_hour_by_all_processes(tmp_path: Path) -> None:
    clock = ManualClock()
    Avoided(Home(tmp_path), clock).add("gpu_1x_a10@us-east-1")

    other = Avoided(Home(tmp_path), clock)
    assert list(other.all()) == ["gpu_1x_a10@us-east-1"]
    clock.advance(3601)
    assert list(other.all()) == []


def test_the_catalogue_of_the_emulator_has_every_region_that_has_room() -> None:
    assert {region for regions in ROOM.values() for region in regions} <= set(REGIONS)
