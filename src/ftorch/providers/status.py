"""What of a provider is installed and set on this machine. Sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ftorch.manifest.credentials import PROVIDER_VARIABLES, Credentials
from ftorch.providers.registry import entries, missing_packages, provider_class


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """What is installed and set for one provider."""

    state: str
    """`ready`, `not configured`, `missing extra` or `not in this version`."""
    variables: Mapping[str, str | None]
    """Variable -> where it is set, or None."""
    install: str | None
    spend_source: str | None
    live_check: str | None


def provider_names() -> list[str]:
    """All providers that there are, and those that ftorch names but this version has not."""
    return list(dict.fromkeys([*entries(), *PROVIDER_VARIABLES]))


def provider_status(name: str, credentials: Credentials) -> ProviderStatus:
    """The provider's class is imported only when its packages are there, and never opened."""
    entry, needed = entries().get(name), PROVIDER_VARIABLES.get(name)
    names = [*needed.required, *needed.optional] if needed else []
    variables = {variable: credentials.source_of(variable) for variable in names}
    is_set = all(variables[variable] for variable in (needed.required if needed else ()))
    if entry is None:
        return ProviderStatus("not in this version" if is_set else "not configured", variables, None, None, None)
    if missing_packages(entry):
        install = f"pip install -e '.[{entry.extra}]'"
        return ProviderStatus("missing extra", variables, install, None, entry.live_check)
    source = provider_class(name).capabilities.spend_source.value
    return ProviderStatus("ready" if is_set else "not configured", variables, None, source, entry.live_check)
