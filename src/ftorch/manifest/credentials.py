"""Where credentials come from, in this order: the environment, `./.env`, the provider's own login file."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ftorch.core.errors import CredentialsError
from ftorch.core.redact import looks_secret


@dataclass(frozen=True, slots=True)
class Variables:
    """What one provider reads from its surroundings."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    login_file: str | None = None
    """The file that the provider's own login command writes; it stands for all that is required."""
    where: str = ""
    """Where a person gets one."""


PROVIDER_VARIABLES: Mapping[str, Variables] = {
    "local": Variables(where="needs none"),
    "together": Variables(
        ("TOGETHER_API_KEY",),
        ("TOGETHER_BASE_URL", "TOGETHER_PROJECT_ID"),
        where="https://api.together.ai/settings/api-keys",
    ),
    "modal": Variables(
        ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"),
        ("MODAL_ENVIRONMENT", "MODAL_SERVER_URL", "MODAL_PROFILE", "MODAL_CONFIG_PATH"),
        login_file="~/.modal.toml",
        where="`modal token new`",
    ),
    "lambda": Variables(
        ("LAMBDA_API_KEY",),
        ("LAMBDA_DEADMAN_API_KEY", "LAMBDA_API_BASE", "LAMBDA_SSH_USER", "LAMBDA_SSH_PORT"),
        where="https://cloud.lambda.ai/api-keys",
    ),
    "anyscale": Variables(
        ("ANYSCALE_CLI_TOKEN",),
        ("ANYSCALE_HOST",),
        login_file="~/.anyscale/credentials.json",
        where="`anyscale login`",
    ),
    "ray": Variables(
        ("RAY_ADDRESS",),
        ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "FTORCH_RAY_PLAIN_HTTP"),
        where="the address of the cluster's dashboard",
    ),
    "ssh": Variables((), ("SSH_AUTH_SOCK",), where="your ssh configuration"),
}

OTHER_VARIABLES: Mapping[str, str] = {
    "FTORCH_HOME": "the state folder: database, adapters, runs of `local`",
    "FTORCH_METRICS_PORT": "the daemon's numbers for Prometheus on 127.0.0.1; not served when empty",
    "HF_TOKEN": "gated base models from the Hugging Face Hub; named under `secrets` in a manifest",
    "NO_COLOR": "any value: no colour on a terminal",
}

_LINE = re.compile(r"^\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*?)\s*$", re.ASCII)
_VALUE = re.compile(r"""'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>.*?)(?:(?:\s+|^)#.*)?$""")
_SURELY_SECRET = 12
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """The merged environment, and where each name in it was set. Values never show in its repr."""

    environment: Mapping[str, str] = field(repr=False)
    dot_env: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...] = ()

    def mapping(self) -> dict[str, str]:
        """Environment over `./.env`. An empty variable counts as not set, so it hides nothing."""
        return {**self.environment, **self.dot_env, **{name: text for name, text in self.environment.items() if text}}

    def source_of(self, name: str) -> str | None:
        """`environment`, `.env`, the login file that stands for the variable, or None."""
        if self.environment.get(name):
            return "environment"
        if self.dot_env.get(name):
            return ".env"
        owners = (owner for owner in PROVIDER_VARIABLES.values() if name in owner.required and owner.login_file)
        return next((owner.login_file for owner in owners if self._has(owner.login_file)), None)

    def _has(self, login_file: str | None) -> bool:
        if login_file is None:
            return False
        home = self.environment.get("HOME")
        path = Path(home, login_file.removeprefix("~/")) if home else Path(login_file).expanduser()
        return path.is_file()


def environment(env: Mapping[str, str], cwd: Path) -> Credentials:
    """Read `./.env` beside the environment. A file that others can read is used, with a warning."""
    path = cwd / ".env"
    try:
        text = path.read_text(encoding="utf-8-sig")
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return Credentials(env, {})
    except UnicodeDecodeError:
        # The error itself would quote bytes of the file.
        return Credentials(env, {}, (f"{path} is not UTF-8 and was not read",))
    except OSError as error:
        return Credentials(env, {}, (f"{path} cannot be read: {error.strerror}",))
    is_open = mode & (stat.S_IRWXG | stat.S_IRWXO)
    warnings = (f"{path} can be read by others: run `chmod 600 {path}`",) if is_open else ()
    return Credentials(env, parse_dot_env(text), warnings)


def parse_dot_env(text: str) -> dict[str, str]:
    """`NAME=value` lines; `export` in front, quotes around and comments behind are understood. The last one wins."""
    lines = (_LINE.match(line) for line in text.splitlines())
    return {line["name"]: _unquoted(line["value"]) for line in lines if line}


def secret_values(env: Mapping[str, str]) -> set[str]:
    """The values that no log may show: of the variables that ftorch knows, and of others that look like credentials.

    Of the others only long ones: `GIT_CREDENTIAL_HELPER=store` would take the word out of every line.
    """
    ours = {name for owner in PROVIDER_VARIABLES.values() for name in (*owner.required, *owner.optional)}
    known = ours | set(OTHER_VARIABLES)
    secret = ((name, text) for name, text in env.items() if looks_secret(name))
    return {text for name, text in secret if text and (name in known or len(text) >= _SURELY_SECRET)}


def missing(provider: str, *names: str) -> CredentialsError:
    """The error for credentials that are set nowhere: names the variables and all three places."""
    variables = PROVIDER_VARIABLES[provider]
    places = ["the environment", "./.env", variables.login_file or f"a login file ({provider} has none)"]
    return CredentialsError(
        f"{provider} is not configured: {', '.join(names or variables.required)} found in none of {', '.join(places)}",
        hint=f"get one: {variables.where}; then run `ftorch doctor`",
    )


def _unquoted(value: str) -> str:
    found = _VALUE.match(value)
    if found is None or found["single"] is not None:
        return found["single"] if found else value
    if found["double"] is not None:
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), found["double"])
    return str(found["bare"])
