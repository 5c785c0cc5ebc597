"""`ftorch.toml`: what holds for all jobs of a project or a user. The project's file wins key by key over the user's."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from ftorch.core.errors import Fault, SettingsError
from ftorch.manifest.faults import faults_of
from ftorch.manifest.fields import Amount, Frozen, Json, SecretPlace

FILE = "ftorch.toml"


class Rated(Frozen):
    """A provider without a price of its own: the user says what an hour costs."""

    rate: Amount | None = Field(None, description='per hour, such as "0.50 USD"; "0.00 USD" when it is free to you')


class BudgetRule(Frozen):
    """What may be spent per period, by label or in all."""

    limit: Amount
    period: Literal["day", "week", "month", "year"] = "month"
    label: str | None = Field(None, description="key=value; the whole installation when not given")


class Notify(Frozen):
    """Where news is sent; the address is a secret."""

    type: Literal["webhook", "slack"]
    url: SecretPlace


class Place(Frozen):
    """Where something is kept."""

    url: str | None = None


class Settings(Frozen):
    """All of `ftorch.toml`."""

    local: Rated = Rated()
    ssh: Rated = Rated()
    ray: Rated = Rated()
    budgets: tuple[BudgetRule, ...] = ()
    required_labels: tuple[str, ...] = ()
    prices: Mapping[str, Mapping[str, Json]] = Field(default_factory=dict, description="price overrides by provider")
    store: Place = Place()
    artifacts: Place = Place()
    notify: tuple[Notify, ...] = ()

    def declared_rates(self) -> dict[str, Amount]:
        """Provider -> price per hour, for those that have one."""
        rated = {"local": self.local, "ssh": self.ssh, "ray": self.ray}
        return {name: block.rate for name, block in rated.items() if block.rate is not None}


def load_settings(cwd: Path, env: Mapping[str, str]) -> Settings:
    """The project's and the user's settings as one. Raises SettingsError with every fault; no file means defaults."""
    merged: dict[str, Any] = {}
    for path in (user_file(env), project_file(cwd)):
        if path is not None and path.is_file():
            merged = _merged(merged, _read(path))
    return Settings.model_validate(merged)


def project_file(cwd: Path) -> Path | None:
    """The nearest `ftorch.toml` here or above, not beyond the repository's root."""
    for folder in (cwd, *cwd.parents):
        if (folder / FILE).is_file():
            return folder / FILE
        if (folder / ".git").exists():
            return None
    return None


def user_file(env: Mapping[str, str]) -> Path:
    """`ftorch.toml` in the user's configuration folder."""
    if named := env.get("XDG_CONFIG_HOME"):
        return Path(named) / "ftorch" / FILE
    from platformdirs import user_config_path  # noqa: PLC0415  slow, and only needed here

    return user_config_path("ftorch") / FILE


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        line = re.search(r"line (\d+)", str(error))
        raise SettingsError([Fault(str(error), file=str(path), line=int(line[1]) if line else None)]) from error
    try:
        Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(faults_of(error, Settings, str(path), lambda where: _line_of(text, where))) from error
    return values


def _line_of(text: str, where: tuple[str | int, ...]) -> int | None:
    """The line of a key: TOML's parser does not tell, so the last name of the path is looked for."""
    names = [part for part in where if isinstance(part, str)]
    for wanted in reversed(names):
        for number, line in enumerate(text.splitlines(), 1):
            if re.match(rf"\s*(\[+\s*)?([\w.\"-]+\.)?\"?{re.escape(wanted)}\"?\s*([\].=]|$)", line):
                return number
    return None


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key; everything else is replaced."""
    both = dict(under)
    for key, value in over.items():
        known = both.get(key)
        both[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return both
