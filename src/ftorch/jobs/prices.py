"""Refreshing the price book from the catalogues of providers that have one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from ftorch.core.errors import FtorchError
from ftorch.costs.book.listed import ListedPrice, keep
from ftorch.providers.base import Catalogued
from ftorch.providers.registry import entries, open_provider, provider_class


def refresh(path: Path, env: Mapping[str, str], names: Sequence[str] = ()) -> dict[str, str]:
    """Ask every provider, or those that are named; returns what became of each, in words.

    What a provider said before stays where it does not answer now. Raises UsageError for a name that is nobody's.
    """
    told: dict[str, str] = {}
    fresh: list[ListedPrice] = []
    asked: list[str] = []
    for name in names or entries():
        try:
            prices = _ask(name, env)
        except FtorchError as error:
            if name not in entries():
                raise
            told[name] = error.message
            continue
        told[name] = f"{len(prices)} prices" if prices is not None else "has no catalogue"
        if prices is not None:
            asked.append(name)
            fresh += prices
    if asked:
        keep(path, fresh, asked)
    return told


def _ask(name: str, env: Mapping[str, str]) -> Sequence[ListedPrice] | None:
    if not issubclass(provider_class(name), Catalogued):
        return None
    with closing(open_provider(name, env)) as opened:
        assert isinstance(opened, Catalogued)
        return opened.catalogue()
