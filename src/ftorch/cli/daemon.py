"""`ftorch daemon`: run, start, stop, status, install."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftorch.cli.common import make_client
from ftorch.cli.output import say

if TYPE_CHECKING:
    from ftorch.core.paths import Home
    from ftorch.jobs.sign import AtWork


@click.group()
def daemon() -> None:
    """The process that moves jobs forward."""


@daemon.command()
@click.option("--until-idle", is_flag=True, help="Leave when nothing is left to do.")
@click.option("--once", is_flag=True, help="Do once what is due, then leave; for cron and CI.")
def run(*, until_idle: bool, once: bool) -> int:
    """Be the daemon, in this terminal."""
    from ftorch.daemon.loop import Daemon

    with make_client() as client:
        Daemon(client.context(), cwd=Path.cwd(), until_idle=until_idle, once=once).run()
    return 0


@daemon.command()
def start() -> int:
    """Start a daemon in the background, to work until it is told to stop."""
    with make_client() as client:
        client.context()
        started = client.ensure_daemon(until_idle=False)
    say("daemon started" if started else "a daemon is at work already; it stays until `ftorch daemon stop`")
    return 0


@daemon.command()
def stop() -> int:
    """Ask the daemon to leave. What it was doing goes on with the next one."""
    with make_client() as client:
        found = _at_work(client.home)
    if found is None:
        return 0
    os.kill(found.pid, signal.SIGTERM)
    say(f"daemon {found.pid} was asked to leave")
    return 0


@daemon.command()
def status() -> int:
    """Say whether a daemon is at work; exit code 9 when none is."""
    with make_client() as client:
        home = client.home
        found = _at_work(home)
    if found is None:
        return 9
    until = "" if found.stays else ", and leaves when nothing is left to do"
    click.echo(f"daemon {found.pid} is at work in {home.root}{until}; its log is {home.daemon_log}")
    return 0


@daemon.command()
@click.option("--print", "prints", is_flag=True, help="Print it and write nothing.")
@click.option("--container", is_flag=True, help="A file for podman or docker instead; it is only ever printed.")
@click.option("--extras", default="all", show_default=True, metavar="LIST", help="With --container: extras of ftorch.")
def install(*, prints: bool, container: bool, extras: str) -> int:
    """Keep a daemon at work here after a reboot: a systemd unit of your own user.

    It works in this folder, whose ftorch.toml and .env count. Starting it is yours: the commands are printed. The unit
    of another installation is not overwritten.
    """
    from ftorch.core.files import write_text
    from ftorch.daemon.install import UNIT, container_file, refuse_anothers, systemd_unit, unit_file

    with make_client() as client:
        home = client.home
    unit = container_file(extras) if container else systemd_unit(home, Path.cwd(), os.environ)
    if prints or container:
        click.echo(unit, nl=False)
        return 0
    place = unit_file(os.environ)
    refuse_anothers(place, home)
    write_text(place, unit)
    say(f"wrote {place}; it begins with the machine after")
    say("  systemctl --user daemon-reload")
    say(f"  systemctl --user enable --now {UNIT}")
    say("  loginctl enable-linger")
    return 0


def _at_work(home: Home) -> AtWork | None:
    """The daemon, or None with the words for it said."""
    from ftorch.jobs.leader import is_led
    from ftorch.jobs.sign import at_work

    found = at_work(home)
    if found is None and is_led(home):
        say(f"a daemon is just about to begin or to leave in {home.root}, or `ftorch db move` is at work there")
    elif found is None:
        say(f"no daemon is at work in {home.root}")
    return found
