"""Together's environment variables, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import structlog

from ftorch.manifest.credentials import missing

KEY_VARIABLE = "TOGETHER_API_KEY"
URL_VARIABLE = "TOGETHER_BASE_URL"
PROJECT_VARIABLE = "TOGETHER_PROJECT_ID"
_DEFAULT_URL = "https://api.together.ai"
_OLD_ENDING = "/v1"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settings:
    """Where Together is and who we are there. The key does not show in its repr."""

    url: str
    key: str = field(repr=False)
    project: str | None = None
    """The project that the key must belong to, where the user names one."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises CredentialsError naming the variable and the three places where it is looked for."""
        key = env.get(KEY_VARIABLE, "").strip()
        if not key:
            raise missing("together", KEY_VARIABLE)
        return cls(
            _without_version(env.get(URL_VARIABLE, "").strip()), key, env.get(PROJECT_VARIABLE, "").strip() or None
        )


def _without_version(url: str) -> str:
    """Until 2026 the address ended in /v1, and paths did not begin with it; many environments still have it so."""
    plain = url.rstrip("/")
    if not plain.endswith(_OLD_ENDING):
        return plain or _DEFAULT_URL
    log.warning("the base URL ends in /v1, which is part of every path now", variable=URL_VARIABLE)
    return plain.removesuffix(_OLD_ENDING)
