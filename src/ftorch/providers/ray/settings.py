"""Where the cluster is, and who we are there: read once from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from ftorch.core.errors import CredentialsError
from ftorch.core.net import is_loopback

ADDRESS_VARIABLE = "RAY_ADDRESS"
TOKEN_VARIABLE = "RAY_AUTH_TOKEN"  # noqa: S105  the name of a variable
TOKEN_FILE_VARIABLE = "RAY_AUTH_TOKEN_PATH"  # noqa: S105  the name of a variable
PLAIN_VARIABLE = "FTORCH_RAY_PLAIN_HTTP"
_LOGIN_FILE = ".ray/auth_token"
_HINT = "the dashboard's address, such as http://127.0.0.1:8265; then run `ftorch doctor`"


@dataclass(frozen=True, slots=True)
class Settings:
    """The token does not show in the repr."""

    address: str
    token: str | None = field(repr=False)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises CredentialsError naming what is not set, or would give the token away."""
        address = env.get(ADDRESS_VARIABLE, "").strip().rstrip("/")
        if not address:
            raise CredentialsError(
                f"ray is not configured: {ADDRESS_VARIABLE} (and {TOKEN_VARIABLE}, where the cluster wants a token)"
                " found in none of the environment, ./.env",
                hint=f"set {ADDRESS_VARIABLE} to {_HINT}",
            )
        host = _host(address)
        token = _token(env)
        if token and address.startswith("http://") and not (is_loopback(host) or env.get(PLAIN_VARIABLE) == "1"):
            raise CredentialsError(
                f"{TOKEN_VARIABLE} would go to {host} for everybody on the way to read: {address} is no https",
                hint=f"reach the dashboard by https or an ssh tunnel, or set {PLAIN_VARIABLE}=1 in a network you trust",
            )
        return cls(address, token)


def _host(address: str) -> str:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise CredentialsError(
            f"{ADDRESS_VARIABLE} is {address!r}, which is no address of a dashboard", hint=f"set it to {_HINT}"
        )
    if url.userinfo or url.query or url.fragment:
        # What stands there is not repeated: the address is kept with every run, and shown.
        raise CredentialsError(
            f"{ADDRESS_VARIABLE} holds more than an address: a name and password, a query or a fragment",
            hint=f"set it to {_HINT}; a token belongs into {TOKEN_VARIABLE}",
        )
    return url.host


def _token(env: Mapping[str, str]) -> str | None:
    """In Ray's own order: the variable, the file that another variable names, the login file."""
    if token := env.get(TOKEN_VARIABLE, "").strip():
        return token
    if named := env.get(TOKEN_FILE_VARIABLE, "").strip():
        return _read(Path(named).expanduser(), is_asked_for=True)
    home = env.get("HOME")
    return _read(Path(home) / _LOGIN_FILE, is_asked_for=False) if home else None


def _read(path: Path, *, is_asked_for: bool) -> str | None:
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        if not is_asked_for:
            return None
        raise CredentialsError(f"{TOKEN_FILE_VARIABLE} names {path}, and there is no such file") from None
    except OSError as error:
        raise CredentialsError(f"the token in {path} cannot be read: {error.strerror}") from error
