"""`ftorch.toml`: what holds for all jobs of a project or a user. The project's file wins key by key over the user's."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError, field_validator

from ftorch.core.errors import Fault, SettingsError
from ftorch.manifest.faults import Where, dotted, faults_of
from ftorch.manifest.fields import Amount, Frozen, Whole
from ftorch.manifest.load import take_out_unknown_keys
from ftorch.manifest.notify import Notify
from ftorch.manifest.places import project_file, user_file
from ftorch.manifest.prices import OwnPrice
from ftorch.manifest.schema import BudgetRule, has_label, pair

_HEADER = re.compile(r"\s*(?P<open>\[\[?)(?P<name>[^\[\]]+)\]")
_KEY = re.compile(r"\s*(?P<name>[\w\"'. -]+?)\s*=")


class Rated(Frozen):
    """A provider without a price of its own: the user says what an hour costs."""

    rate: Amount | None = Field(None, description='per hour, such as "0.50 USD"; "0.00 USD" when it is free to you')


class Place(Frozen):
    """Where something is kept."""

    url: str | None = Field(None, description="the state folder when not given; env:NAME where it holds a password")


class Cap(Frozen):
    """How many runs may be open at once at a provider, or of the jobs with a label."""

    provider: str | None = Field(None, description="runs at this provider; all of them when not given")
    label: str | None = Field(None, description="key=value; runs of jobs with it")
    runs: Whole = Field(ge=1, le=100_000, description="how many may be open; further jobs wait")

    @field_validator("label")
    @classmethod
    def _is_pair(cls, value: str | None) -> str | None:
        return pair(value)

    def counts(self, provider: str, labels: Mapping[str, str]) -> bool:
        """A run at this provider, of a job with these labels, takes one of its places."""
        return self.provider in (None, provider) and has_label(self.label, labels)


class Daemon(Frozen):
    """How the daemon works on this machine."""

    health_port: Whole | None = Field(
        None, ge=0, le=65_535, description="/healthz on 127.0.0.1 for whoever watches it; not served when not given"
    )
    metrics_port: Whole | None = Field(
        None, ge=0, le=65_535, description="the daemon's numbers for Prometheus on 127.0.0.1; not served when not given"
    )


class Settings(Frozen):
    """All of `ftorch.toml`."""

    local: Rated = Field(Rated(), description="what this machine costs")
    ssh: Rated = Field(Rated(), description="what a machine of yours costs")
    ray: Rated = Field(Rated(), description="what a Ray cluster costs")
    budgets: tuple[BudgetRule, ...] = Field((), description="what may be spent per period")
    required_labels: tuple[str, ...] = Field((), description="labels that every manifest must have")
    prices: Mapping[str, Mapping[str, OwnPrice]] = Field(
        default_factory=dict,
        description="provider (or hosted) -> name of a machine or model -> its price, over the prices we know",
    )
    store: Place = Field(Place(), description="the database")
    artifacts: Place = Field(Place(), description="adapters that are brought home")
    notify: tuple[Notify, ...] = Field((), description="who is told when a job ends or needs a person")
    caps: tuple[Cap, ...] = Field((), description="how many runs may be open at once")
    daemon: Daemon = Field(Daemon(), description="how the daemon works on this machine")

    _files: dict[str, Path] = PrivateAttr(default_factory=dict)

    def declared_rates(self) -> dict[str, Amount]:
        """Provider -> price per hour, for those that have one."""
        rated = {"local": self.local, "ssh": self.ssh, "ray": self.ray}
        return {name: block.rate for name, block in rated.items() if block.rate is not None}

    def files(self) -> dict[str, Path]:
        """Dotted key -> the file that it was read from, for every key that a file gives."""
        return dict(self._files)


def load_settings(cwd: Path, env: Mapping[str, str]) -> Settings:
    """The project's and the user's settings as one. Raises SettingsError with every fault; no file means defaults."""
    merged: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for path in (user_file(env), project_file(cwd, env)):
        if path is not None and path.is_file():
            values = _read(path)
            merged = _merged(merged, values)
            files |= dict.fromkeys(_leaves(values), path)
    settings = Settings.model_validate(merged)
    settings._files.update(files)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise SettingsError([Fault(f"cannot be read: {error.strerror}", file=str(path))]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([Fault("is not UTF-8", file=str(path))]) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError([_slip(str(error), path)]) from error
    if faults := _faults(values, path, _lines(text)):
        raise SettingsError(sorted(faults, key=lambda fault: fault.line or 0))
    return values


def _faults(values: dict[str, Any], path: Path, lines: Mapping[Where, int]) -> list[Fault]:
    faults: list[Fault] = []

    def report(message: str, where: Where) -> None:
        faults.append(Fault(message, str(path), _line_of(where, lines), dotted(where)))

    take_out_unknown_keys(Settings, values, report)
    try:
        _refuse_doubles(Settings.model_validate(values).notify, report)
    except ValidationError as error:
        faults += faults_of(error, Settings, str(path), lambda where: _line_of(where, lines))
    return faults


def _refuse_doubles(channels: Sequence[Notify], report: Callable[[str, Where], None]) -> None:
    """A delivery knows its channel by name: of two with one name the later would get what both are told."""
    names = [channel.name for channel in channels]
    for index, name in enumerate(names):
        if (first := names.index(name)) != index:
            report(f"is {name!r}, as notify[{first}] is: write one [[notify]] with the `on` of both", ("notify", index))


def _slip(words: str, path: Path) -> Fault:
    """tomllib puts the place into its sentence: `Invalid value (at line 2, column 5)`."""
    sentence, _, place = words.rpartition(" (at ")
    line = re.match(r"line (\d+)", place)
    return Fault(f"is not TOML: {(sentence or words).lower()}", file=str(path), line=int(line[1]) if line else None)


def _lines(text: str) -> dict[Where, int]:
    """The line of every table and key. TOML's parser does not tell, so the text is looked through for them."""
    found: dict[Where, int] = {}
    counts: dict[Where, int] = {}
    table: Where = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _names(header["name"])
            if header["open"] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_names(key["name"])), number)
    return found


def _names(dotted: str) -> Where:
    return tuple(part.strip(" \t\"'") for part in dotted.split("."))


def _line_of(where: Where, lines: Mapping[Where, int]) -> int | None:
    """The line of a path, or that of the nearest table around it."""
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where)


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key; everything else is replaced."""
    both = dict(under)
    for key, value in over.items():
        known = both.get(key)
        both[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return both
