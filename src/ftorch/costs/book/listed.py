"""The prices of rented GPUs: shipped lists, under what a provider's catalogue told, under what the user says.

A price knows its source and its date; one that is too old is marked wherever it is used.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ftorch.core.files import write_text
from ftorch.core.money import exact
from ftorch.costs.book.gpus import find_gpu
from ftorch.manifest.prices import OwnPrice

STALE_AFTER_DAYS = 90
_PER_HOUR = {"second": Decimal(3600), "minute": Decimal(60), "hour": Decimal(1)}


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """What one kind of machine costs per hour, all that is billed with it included."""

    provider: str
    name: str
    """The provider's own name of it."""
    gpu: str | None
    """The type, as manifests name it."""
    count: int
    """How many of them one machine has."""
    rate: Decimal
    """USD per hour."""
    source: str
    read: date
    """When the source was read, or agreed with another one."""
    has_capacity: bool | None = None
    """What the provider's catalogue said when it was read; None: nobody asked."""
    note: str = ""

    def age_days(self, today: date) -> int:
        return (today - self.read).days

    def words(self, today: date) -> str:
        """The price with its source and date; a stale one says so."""
        mark = f", STALE: {self.age_days(today)} days old" if is_stale(self.read, today) else ""
        return f"{exact(self.rate)} USD per hour ({self.source}, {self.read}{mark})"


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices of machines that are known, and what the user says about tokens and hosted models."""

    machines: tuple[ListedPrice, ...]
    own: Mapping[str, Mapping[str, OwnPrice]]

    def of(self, provider: str) -> list[ListedPrice]:
        """The provider's machines, cheapest first."""
        return sorted((one for one in self.machines if one.provider == provider), key=lambda one: (one.rate, one.name))

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.provider for one in self.machines))


def is_stale(read: date, today: date, *, after_days: int = STALE_AFTER_DAYS) -> bool:
    """Too old to be relied on without a look at the source."""
    return (today - read).days > after_days


def price_book(own: Mapping[str, Mapping[str, OwnPrice]], refreshed: Path | None = None) -> PriceBook:
    """The shipped lists, under what was read from catalogues, under the user's own `[prices]`."""
    known = {(one.provider, one.name): one for one in shipped()}
    known |= {(one.provider, one.name): one for one in _read(refreshed)}
    for provider, prices in own.items():
        for name, price in prices.items():
            if price.unit in _PER_HOUR:
                known[provider, name] = _own(known.get((provider, name)), provider, name, price)
    return PriceBook(tuple(known.values()), own)


@cache
def shipped() -> tuple[ListedPrice, ...]:
    """What came with this version of ftorch."""
    lists = tomllib.loads((files("ftorch.costs.book") / "prices.toml").read_text(encoding="utf-8"))
    return tuple(price for provider, table in lists.items() for price in _of_list(provider, table))


def keep(path: Path, prices: Iterable[ListedPrice], asked: Sequence[str]) -> None:
    """Keep what catalogues said, in place of what these providers said before."""
    others = [one for one in _read(path) if one.provider not in asked]
    rows = [asdict(one) | {"rate": exact(one.rate), "read": one.read.isoformat()} for one in (*others, *prices)]
    write_text(path, json.dumps(rows, indent=1))


def _of_list(provider: str, table: Mapping[str, Any]) -> Iterable[ListedPrice]:
    times = _PER_HOUR[table["per"]]
    beside = sum((Decimal(one["usd"]) for one in table.get("beside", ())), Decimal(0))
    for name, row in table["price"].items():
        yield ListedPrice(
            provider=provider,
            name=name,
            gpu=row["gpu"],
            count=row.get("count", 1),
            rate=(Decimal(row["usd"]) + beside) * times,
            source=table["source"],
            read=table["date"],
            note=row.get("note", ""),
        )


def _read(path: Path | None) -> list[ListedPrice]:
    if path is None or not path.is_file():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        ListedPrice(**row | {"rate": Decimal(row["rate"]), "read": date.fromisoformat(row["read"])}) for row in rows
    ]


def _own(listed: ListedPrice | None, provider: str, name: str, price: OwnPrice) -> ListedPrice:
    assert price.price is not None
    rate = price.price.amount * _PER_HOUR[price.unit or "hour"]
    source = f"ftorch.toml: {price.source}"
    if listed is not None:
        return replace(listed, rate=rate, source=source, read=price.date, has_capacity=None)
    gpu = find_gpu(price.gpu or name)
    return ListedPrice(provider, name, gpu.name if gpu else None, price.count, rate, source, price.date)
