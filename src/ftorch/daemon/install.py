"""What keeps a daemon at work after a reboot: a unit for systemd, or a file for a container. Text alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from ftorch.core.errors import UsageError
from ftorch.core.paths import Home

UNIT = "ftorch.service"
HEALTH_PORT = 9465
_UID = 1000
"""The container's user, and its group."""

_HOME = re.compile(r'"FTORCH_HOME=((?:[^"\\]|\\.)*)"')

_SYSTEMD = """\
# {place}
# systemctl --user daemon-reload
# systemctl --user enable --now {unit}
# loginctl enable-linger           # without it the daemon begins when you log in, not when the machine does
[Unit]
Description=ftorch daemon: jobs, schedules and notices of {home}
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
# Its ftorch.toml counts, and the keys in its .env, which you alone may read.
WorkingDirectory={cwd}
Environment="FTORCH_HOME={quoted_home}" "FTORCH_HEALTH_PORT={port}"
ExecStart="{python}" -m ftorch.cli.main daemon run
# It also ends itself when it hangs. Runs at providers, and local ones, go on meanwhile.
Restart=always
RestartSec=5
KillMode=process
TimeoutStopSec=15
UMask=0077

[Install]
WantedBy=default.target
"""

_CONTAINER = """\
# Build in your clone of ftorch:   podman build --format docker -t ftorch -f Containerfile .
# Run in your project:             podman run -d --name ftorch --restart=always \\
#                                    --userns=keep-id:uid={uid},gid={uid} \\
#                                    -v ftorch-state:/state -v "$PWD":/project --env-file .env ftorch
# Podman's own format has no HEALTHCHECK. With keep-id the container's user is you, and may write your project.
# Docker has neither --format nor keep-id: leave both out.
FROM docker.io/library/python:3.12-slim
# By name: a clone may hold an .env, and what is once in a layer stays there.
COPY pyproject.toml constraints.txt README.md LICENSE /opt/ftorch/
COPY src /opt/ftorch/src
RUN pip install --no-cache-dir -c /opt/ftorch/constraints.txt '/opt/ftorch[{extras}]'
RUN useradd --create-home --uid {uid} --user-group ftorch && mkdir /state /project && chown ftorch /state /project
USER ftorch
ENV FTORCH_HOME=/state FTORCH_HEALTH_PORT={port}
VOLUME /state
WORKDIR /project
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD \\
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/healthz', timeout=4)"]
# SIGTERM is what stops it well: it leaves within ten seconds, and the next one goes on.
STOPSIGNAL SIGTERM
CMD ["ftorch", "daemon", "run"]
"""


def systemd_unit(home: Home, cwd: Path, env: Mapping[str, str]) -> str:
    """The unit of this installation, for the user's own systemd."""
    return _SYSTEMD.format(
        place=unit_file(env),
        unit=UNIT,
        home=_plain(home.root),
        quoted_home=_quoted(home.root),
        cwd=_plain(cwd),
        python=_quoted(Path(sys.executable)),
        port=HEALTH_PORT,
    )


def unit_file(env: Mapping[str, str]) -> Path:
    """Where the user's systemd looks."""
    base = (
        Path(env["XDG_CONFIG_HOME"])
        if env.get("XDG_CONFIG_HOME")
        else Path(env.get("HOME", "~")).expanduser() / ".config"
    )
    return base / "systemd" / "user" / UNIT


def refuse_anothers(place: Path, home: Home) -> None:
    """Raises UsageError where the file is there and is not the unit of this installation.

    Written over it, the schedules of the other one would end without a word.
    """
    if not place.exists():
        return
    theirs = _home_in(place.read_text(encoding="utf-8", errors="replace"))
    if theirs == str(home.root):
        return
    words = f"of {theirs}" if theirs else "without an FTORCH_HOME of ours"
    raise UsageError(
        f"{place} is the unit of another daemon, {words}; this installation is {home.root}",
        hint="delete it if that one is not needed, or write `ftorch daemon install --print` to a file of another name "
        "beside it, with another FTORCH_HEALTH_PORT",
    )


def container_file(extras: str) -> str:
    """A file for podman or docker; `extras` are ftorch's, such as `together,postgres`."""
    return _CONTAINER.format(port=HEALTH_PORT, extras=extras, uid=_UID)


def _home_in(unit: str) -> str | None:
    """The state folder that a unit of ours names, as it was before `_quoted`."""
    found = _HOME.search(unit)
    return re.sub(r"\\(.)|%(%)", r"\1\2", found[1]) if found else None


def _plain(path: Path) -> str:
    """A path that ends with its line: percent signs are systemd's own."""
    return str(path).replace("%", "%%")


def _quoted(path: Path) -> str:
    """A path between double quotes."""
    return _plain(path).replace("\\", "\\\\").replace('"', '\\"')
