"""Where a run may be placed: machine types with one GPU, in regions that have room, cheapest first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from ftorch.core.clock import Clock, from_micros, to_micros
from ftorch.core.errors import RunRejectedError
from ftorch.core.files import locked, write_text
from ftorch.core.paths import Home
from ftorch.costs.book.listed import ListedPrice
from ftorch.providers.base import Placement
from ftorch.providers.lambda_cloud.api import InstanceType, Offer

_AVOID_FOR = timedelta(hours=1)
_TYPE = re.compile(r"^(?:gpu|cpu)_\d+x_(?P<model>.+)$")


def placements(
    offers: Sequence[Offer], wanted: Sequence[str], region: str | None, avoided: Mapping[str, datetime]
) -> Sequence[Placement]:
    """The places with room now. Where there is none, the types without a region: a launch there is not even sent.

    A place that gave a dead machine within the hour comes only where there is no other.
    """
    fitting = [offer for offer in offers if _fits(offer.instance_type, wanted)]
    if not fitting:
        raise _unknown(wanted, offers)
    with_room = [place for offer in fitting for place in _places(offer, region)]
    good = [place for place in with_room if place.name not in avoided]
    without = [_placement(offer.instance_type, region or "") for offer in fitting]
    return sorted(good or with_room or without, key=lambda place: (place.rate, place.name))


class Avoided:
    """Places whose machines were dead, remembered for an hour by all processes of the state folder."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self._folder = home.root / "lambda"
        self._clock = clock

    def add(self, place: str) -> None:
        """Look elsewhere for an hour."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._folder):
            kept = {**self.all(), place: self._clock.now()}
            write_text(self._file, json.dumps({name: to_micros(at) for name, at in kept.items()}))

    def all(self) -> Mapping[str, datetime]:
        """Place -> when it gave a dead machine."""
        kept: dict[str, int] = json.loads(self._file.read_text()) if self._file.exists() else {}
        since = self._clock.now() - _AVOID_FOR
        return {place: from_micros(at) for place, at in kept.items() if from_micros(at) >= since}

    @property
    def _file(self) -> Path:
        return self._folder / "avoided.json"


def is_gpu(place: Mapping[str, str]) -> bool:
    """The machine has a GPU to probe."""
    return int(place["gpus"]) > 0


def _places(offer: Offer, region: str | None) -> Iterator[Placement]:
    for one in offer.regions_with_capacity_available:
        if region in (None, one.name):
            yield _placement(offer.instance_type, one.name)


def _placement(kind: InstanceType, region: str) -> Placement:
    cents = kind.price_cents_per_hour
    detail = {"type": kind.name, "region": region, "cents": str(cents), "gpus": str(kind.specs.gpus)}
    name = f"{kind.name}@{region}" if region else kind.name
    return Placement(name, Decimal(cents) / 100, detail, gpu=gpu_name(kind), gpus=kind.specs.gpus)


def catalogue(offers: Sequence[Offer], today: date) -> Sequence[ListedPrice]:
    """What every type costs now, and whether one can be had."""
    return [
        ListedPrice(
            provider="lambda",
            name=offer.instance_type.name,
            gpu=gpu_name(offer.instance_type),
            count=offer.instance_type.specs.gpus,
            rate=Decimal(offer.instance_type.price_cents_per_hour) / 100,
            source="Lambda's catalogue; sales tax comes on top",
            read=today,
            has_capacity=bool(offer.regions_with_capacity_available),
        )
        for offer in offers
    ]


def gpu_name(kind: InstanceType) -> str | None:
    """The GPU as manifests and the price book name it; None for a machine without one."""
    if not kind.specs.gpus:
        return None
    model, *more = _words(kind)
    match model:
        case "a100":
            return "A100-80GB" if "80gb" in more else "A100-40GB"
        case "h100" if "pcie" in more:
            return "H100-PCIE"
        case _:
            return model.upper()


def _fits(kind: InstanceType, wanted: Sequence[str]) -> bool:
    """One GPU and one of those wanted, by its name (`A10`, `A100-80GB`) or by Lambda's own name of the type."""
    if kind.name in wanted:
        return True
    return kind.specs.gpus == 1 and (not wanted or any(_is_gpu(kind, gpu) for gpu in wanted))


def _is_gpu(kind: InstanceType, gpu: str) -> bool:
    words = _words(kind)
    described = re.sub(r"(\d+)\s*gb", r"\1gb", kind.gpu_description.lower())
    model, *more = re.split(r"[-_ ]", gpu.lower())
    return model == words[0] and all(word in words or word in re.split(r"[^\w]+", described) for word in more)


def _words(kind: InstanceType) -> Sequence[str]:
    found = _TYPE.match(kind.name)
    return found["model"].lower().split("_") if found else [kind.name]


def _unknown(wanted: Sequence[str], offers: Sequence[Offer]) -> RunRejectedError:
    names = sorted(offer.instance_type.name for offer in offers if offer.instance_type.specs.gpus == 1)
    asked = f"no machine with {', '.join(wanted)}" if wanted else "no machine with one GPU"
    return RunRejectedError(
        f"lambda has {asked}", provider="lambda", operation="placements", hint=f"it has: {', '.join(names)}"
    )
