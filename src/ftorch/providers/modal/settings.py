"""Modal's environment variables and login file, read once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ftorch.core.errors import CredentialsError
from ftorch.manifest.credentials import missing

ID_VARIABLE, SECRET_VARIABLE = "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"
URL_VARIABLE, ENVIRONMENT_VARIABLE = "MODAL_SERVER_URL", "MODAL_ENVIRONMENT"
_PROFILE_VARIABLE, _FILE_VARIABLE = "MODAL_PROFILE", "MODAL_CONFIG_PATH"
_LOGIN_FILE = ".modal.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """Who we are at Modal, and where it is. The token's secret does not show in its repr."""

    token_id: str
    token_secret: str = field(repr=False)
    server_url: str | None = None
    """None: Modal's own."""
    environment: str | None = None
    """None: the workspace's default environment."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """The variables, else the active profile of the login file. Raises CredentialsError naming all of them."""
        profile = _profile(env)

        def value(variable: str) -> str | None:
            key = variable.removeprefix("MODAL_").lower()
            return env.get(variable, "").strip() or str(profile.get(key, "")).strip() or None

        token_id, token_secret = value(ID_VARIABLE), value(SECRET_VARIABLE)
        if not token_id or not token_secret:
            raise missing("modal", *(name for name in (ID_VARIABLE, SECRET_VARIABLE) if not value(name)))
        return cls(token_id, token_secret, value(URL_VARIABLE), value(ENVIRONMENT_VARIABLE))


def _profile(env: Mapping[str, str]) -> Mapping[str, Any]:
    """The profile that is asked for, else the active one; empty where nobody has logged in."""
    path = _login_file(env)
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CredentialsError(f"{path} cannot be read: {error}", hint="run `modal token new`") from error
    if name := env.get(_PROFILE_VARIABLE):
        return dict(profiles.get(name, {}))
    active = [profile for profile in profiles.values() if isinstance(profile, dict) and profile.get("active")]
    return dict(active[0] if active else profiles.get("default", {}))


def _login_file(env: Mapping[str, str]) -> Path:
    if named := env.get(_FILE_VARIABLE):
        return Path(named).expanduser()
    home = env.get("HOME")
    return (Path(home) if home else Path("~").expanduser()) / _LOGIN_FILE
