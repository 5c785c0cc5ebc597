"""Lambda's environment variables, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from ftorch.core.errors import CredentialsError
from ftorch.manifest.credentials import missing

KEY = "LAMBDA_API_KEY"
SWITCH_KEY = "LAMBDA_DEADMAN_API_KEY"
_URL = "https://cloud.lambda.ai/api/v1"
_USER = "ubuntu"
_PORT = 22


@dataclass(frozen=True, slots=True)
class Settings:
    """Where Lambda is, who we are there, and with which key a machine ends itself. Keys do not show in the repr."""

    url: str
    key: str = field(repr=False)
    switch_key: str | None = field(default=None, repr=False)
    ssh_user: str = _USER
    ssh_port: int = _PORT

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises CredentialsError naming what is not set, and where it is looked for."""
        key = env.get(KEY, "").strip()
        if not key:
            raise missing("lambda", KEY)
        port = env.get("LAMBDA_SSH_PORT", "").strip() or str(_PORT)
        if not port.isdigit():
            raise CredentialsError(f"LAMBDA_SSH_PORT must be a number, not {port!r}")
        return cls(
            url=env.get("LAMBDA_API_BASE", "").strip() or _URL,
            key=key,
            switch_key=env.get(SWITCH_KEY, "").strip() or None,
            ssh_user=env.get("LAMBDA_SSH_USER", "").strip() or _USER,
            ssh_port=int(port),
        )

    @property
    def account(self) -> str:
        """What names the workspace of the key: the API has no word for it, so it is the key's own mark."""
        return f"key-{hashlib.sha256(self.key.encode()).hexdigest()[:12]}"
