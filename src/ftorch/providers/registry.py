"""Which providers there are: our own by name, third parties by the entry point group `ftorch.providers`.

Classes are named by strings and imported when asked for, so that an SDK costs nothing to those who do not use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from ftorch.core.clock import Clock
from ftorch.core.errors import MissingExtraError, UsageError
from ftorch.core.suggest import did_you_mean
from ftorch.providers.base import Provider

GROUP = "ftorch.providers"


@dataclass(frozen=True, slots=True)
class Entry:
    """One provider: where its class is, and the extra that brings what it imports."""

    target: str
    """`package.module:Class`."""
    extra: str | None = None
    needs: tuple[str, ...] = ()
    """Modules that the extra installs; all must be there."""
    live_check: str = "never"
    """The date on which `pytest -m live` last passed against the real service."""
    most_runs: int | None = None
    """How many of our runs it bears at once, unless `[[caps]]` of ftorch.toml says otherwise; None: any number."""


OURS: Mapping[str, Entry] = {
    "anyscale": Entry("ftorch.providers.anyscale.provider:AnyscaleProvider", extra="anyscale", needs=("fsspec",)),
    "local": Entry(
        "ftorch.providers.local.provider:LocalProvider",
        extra="train",
        needs=("torch", "trl", "peft"),
        live_check="every test run",
    ),
    "lambda": Entry("ftorch.providers.lambda_cloud.provider:LambdaProvider", extra="lambda", needs=("asyncssh",)),
    "modal": Entry("ftorch.providers.modal.provider:ModalProvider", extra="modal", needs=("modal",)),
    "ray": Entry("ftorch.providers.ray.provider:RayProvider", extra="ray", needs=("fsspec",), most_runs=4),
    "ssh": Entry("ftorch.providers.ssh.provider:SshProvider", extra="ssh", needs=("asyncssh",)),
    "together": Entry(
        "ftorch.providers.together.provider:TogetherProvider", extra="together", needs=("together", "zstandard")
    ),
}


def entries() -> dict[str, Entry]:
    """All providers that this installation knows, ours first."""
    others = {point.name: Entry(point.value) for point in entry_points(group=GROUP)}
    return {**others, **OURS}


def provider_class(name: str) -> type[Provider]:
    """The class of a provider; its SDK is not imported by this. Raises UsageError for a name that nobody registered."""
    known = entries()
    if name not in known:
        raise _unknown(name, known)
    module, _, attribute = known[name].target.partition(":")
    found: Any = getattr(import_module(module), attribute)
    return found  # type: ignore[no-any-return]  # the registry is the one place where a string becomes a class


def open_provider(name: str, env: Mapping[str, str], clock: Clock | None = None) -> Provider:
    """A provider ready to use, with the caller's clock where it has one.

    Raises MissingExtraError when its packages are not installed, CredentialsError when its credentials are not set.
    """
    found = provider_class(name)
    entry = entries()[name]
    if missing_packages(entry):
        raise MissingExtraError(f"the provider {name!r}", extra=entry.extra or name)
    return found.from_env(env, clock)


def missing_packages(entry: Entry) -> tuple[str, ...]:
    """The packages of the entry's extra that are not installed; looks without importing."""
    return tuple(module for module in entry.needs if find_spec(module) is None)


def _unknown(name: str, known: Mapping[str, Entry]) -> UsageError:
    return UsageError(
        f"no provider is called {name!r}{did_you_mean(name, [*known])}",
        hint="run `ftorch providers` to see those that there are",
    )
