"""Anyscale's environment variables and login file, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from ftorch.core.errors import CredentialsError
from ftorch.core.net import is_loopback
from ftorch.manifest.credentials import missing

TOKEN_VARIABLE, HOST_VARIABLE = "ANYSCALE_CLI_TOKEN", "ANYSCALE_HOST"
_DEFAULT_HOST = "https://console.anyscale.com"
_LOGIN_FILE = Path(".anyscale/credentials.json")
_ENDS_A_COOKIE = frozenset(' ;,\\"')


@dataclass(frozen=True, slots=True)
class Settings:
    """Where Anyscale is and who we are there. The token does not show in its repr."""

    host: str
    token: str = field(repr=False)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """The variables, else the login file. Raises CredentialsError naming all places."""
        token = env.get(TOKEN_VARIABLE, "").strip() or _from_login_file(env)
        if not token:
            raise missing("anyscale", TOKEN_VARIABLE)
        if _ENDS_A_COOKIE & set(token):
            raise CredentialsError(
                f"{TOKEN_VARIABLE} holds characters that no token of anyscale has",
                hint="copy it again from https://console.anyscale.com/v2/api-keys",
            )
        return cls(_checked(env.get(HOST_VARIABLE, "").strip() or _DEFAULT_HOST), token)


def _checked(host: str) -> str:
    """The token is a whole organisation's: it goes by https alone, but for an emulator on this machine."""
    parts = urlsplit(host)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return host
    raise CredentialsError(
        f"{HOST_VARIABLE} is no https:// address, and {TOKEN_VARIABLE} would go there for everybody to read",
        hint=f"set {HOST_VARIABLE} to {_DEFAULT_HOST}, or leave it out",
    )


def cookie(token: str) -> Mapping[str, str]:
    """How Anyscale's own clients send their token."""
    return {"Cookie": f"cli_token={token}"}


def _from_login_file(env: Mapping[str, str]) -> str:
    """What `anyscale login` has left; empty where nobody has logged in."""
    home = env.get("HOME")
    path = (Path(home) if home else Path("~").expanduser()) / _LOGIN_FILE
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
        return str(value["cli_token"]).strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CredentialsError(f"{path} cannot be read: {error!r}", hint="run `anyscale login`") from error
