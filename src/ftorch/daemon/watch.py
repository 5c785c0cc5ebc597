"""Whether the daemon's numbers and its health are served, and on which ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ftorch.core.errors import MissingExtraError, UsageError
from ftorch.daemon.pulse import Pulse
from ftorch.jobs.context import Context
from ftorch.manifest.settings import load_settings

if TYPE_CHECKING:
    from ftorch.daemon.health import HealthServer
    from ftorch.daemon.metrics import Server

PORT = "FTORCH_METRICS_PORT"
HEALTH = "FTORCH_HEALTH_PORT"
_HIGHEST_PORT = 65_535

log = structlog.get_logger()


def metrics_port(env: Mapping[str, str], cwd: Path) -> int | None:
    """The variable, else `daemon.metrics_port`; None when nobody asked. Raises UsageError, SettingsError."""
    return _port(env, PORT, lambda: load_settings(cwd, env).daemon.metrics_port)


def health_port(env: Mapping[str, str], cwd: Path) -> int | None:
    """The variable, else `daemon.health_port`; None when nobody asked. Raises UsageError, SettingsError."""
    return _port(env, HEALTH, lambda: load_settings(cwd, env).daemon.health_port)


def _port(env: Mapping[str, str], variable: str, written: Callable[[], int | None]) -> int | None:
    text = env.get(variable, "")
    if not text:
        return written()
    if not text.isascii() or not text.isdigit() or int(text) > _HIGHEST_PORT:
        raise UsageError(f"{variable} is not a port: {text!r}", hint=f"a number up to {_HIGHEST_PORT}, such as 9464")
    return int(text)


def serve_health(context: Context, cwd: Path, pulse: Pulse) -> HealthServer | None:
    """Start to answer whether the daemon is well; None when nobody asked. Raises UsageError or SettingsError."""
    port = health_port(context.env, cwd)
    if port is None:
        return None
    from ftorch.daemon.health import HealthServer, health  # noqa: PLC0415  for those who asked for it

    server = HealthServer(partial(health, context.store, pulse), port)
    log.info("health is served", port=server.port)
    return server


def serve_metrics(context: Context, cwd: Path) -> Server | None:
    """Start to serve the numbers of a daemon that leads; None when nobody asked for them.

    Raises UsageError (not a port, or taken), SettingsError, or MissingExtraError when the package is not installed.
    """
    port = metrics_port(context.env, cwd)
    if port is None:
        return None
    if find_spec("prometheus_client") is None:
        raise MissingExtraError("what FTORCH_METRICS_PORT asks for", extra="metrics")
    from ftorch.daemon.metrics import Metrics, Server  # noqa: PLC0415  an extra: loaded by those who asked for it

    server = Server(Metrics(context.store), port)
    log.info("metrics are served", port=server.port)
    return server
