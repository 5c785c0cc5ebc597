"""acme's environment variables, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from ftorch.core.errors import CredentialsError

KEY_VARIABLE = "ACME_API_KEY"
URL_VARIABLE = "ACME_URL"
_DEFAULT_URL = "https://api.acme.example"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where acme is and who we are there. The key does not show in its repr."""

    url: str
    key: str = field(repr=False)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises CredentialsError naming what is not set, and where it is looked for."""
        key = env.get(KEY_VARIABLE, "").strip()
        if not key:
            raise CredentialsError(
                f"acme is not configured: {KEY_VARIABLE} found in none of the environment, ./.env",
                hint="get one at https://acme.example/keys, then run `ftorch doctor`",
            )
        return cls(env.get(URL_VARIABLE, "").strip() or _DEFAULT_URL, key)
