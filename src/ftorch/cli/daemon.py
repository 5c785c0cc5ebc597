"""`ftorch daemon`: run, start, stop, status."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click

from ftorch.cli.common import make_client
from ftorch.cli.output import say


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
    say("daemon started" if started else "a daemon is at work already")
    return 0


@daemon.command()
def stop() -> int:
    """Ask the daemon to leave. What it was doing goes on with the next one."""
    from ftorch.daemon.loop import read_pid

    with make_client() as client:
        pid = read_pid(client.home)
    if pid is None:
        say("no daemon is at work")
        return 0
    os.kill(pid, signal.SIGTERM)
    say(f"daemon {pid} was asked to leave")
    return 0


@daemon.command()
def status() -> int:
    """Say whether a daemon is at work; exit code 9 when none is."""
    from ftorch.daemon.loop import read_pid

    with make_client() as client:
        pid = read_pid(client.home)
        home = client.home
    if pid is None:
        say(f"no daemon is at work in {home.root}")
        return 9
    click.echo(f"daemon {pid} is at work in {home.root}; its log is {home.daemon_log}")
    return 0
