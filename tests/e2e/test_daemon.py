"""Daemons as real processes: which of several works, how they are started and stopped, and what ends one that hangs."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from e2e import stuck
from e2e.shell import ROOT, Shell, furnish, is_alive, kill, until
from ftorch.client import Client

NOT_FINISHED = 9


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = furnish(tmp_path)
    yield made
    made.end_all()


def at_work(shell: Shell) -> int | None:
    return shell.pid_of_daemon() if shell.run("daemon", "status").returncode == 0 else None


def logged(shell: Shell, event: str) -> list[Mapping[str, Any]]:
    log = shell.home / "daemon.log"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [line for line in lines if line["event"] == event]


def admit(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> str:
    """Submit the manifest, and start no daemon."""
    monkeypatch.setattr(Client, "ensure_daemon", lambda _self: False)
    with Client(shell.environment(), shell.folder) as client:
        return client.submit("job.yaml").job.id


def train_for_ever(shell: Shell) -> None:
    text = (shell.folder / "job.yaml").read_text().replace("epochs: 4", "epochs: 100").replace("budget", "# budget")
    (shell.folder / "job.yaml").write_text(text)


def test_of_two_daemons_started_at_once_one_works_and_the_other_says_so(shell: Shell) -> None:
    both = [shell.start("daemon", "run") for _ in range(2)]

    refused = until(lambda: next((one for one in both if one.poll() is not None), None))
    _, words = refused.communicate()
    [working] = [one for one in both if one is not refused]
    until(lambda: at_work(shell) == working.pid)

    assert refused.returncode == 2
    assert "another ftorch daemon already works in" in words
    assert len(logged(shell, "daemon started")) == 1
    working.send_signal(signal.SIGTERM)
    assert working.wait(20) == 0


def test_of_two_that_leave_when_idle_one_does_the_work_and_both_leave(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = admit(shell, monkeypatch)

    both = [shell.start("daemon", "run", "--until-idle") for _ in range(2)]
    codes = [one.wait(240) for one in both]
    for one in both:
        one.communicate()

    assert codes == [0, 0]
    assert len(logged(shell, "daemon started")) == 1
    found = shell.json("jobs", "show", job)
    assert (found["state"], len(found["runs"])) == ("succeeded", 1)


def test_a_daemon_is_started_seen_and_stopped(shell: Shell) -> None:
    before = shell.run("daemon", "status")
    started = shell.run("daemon", "start")
    during = shell.run("daemon", "status")
    pid = shell.pid_of_daemon()
    again = shell.run("daemon", "start")
    stopped = shell.run("daemon", "stop")
    assert pid is not None
    until(lambda: not is_alive(pid), within_s=20)
    after = shell.run("daemon", "status")

    assert (before.returncode, "no daemon is at work" in before.stderr) == (NOT_FINISHED, True)
    assert (started.returncode, started.stderr.strip()) == (0, "daemon started")
    assert (during.returncode, f"daemon {pid} is at work" in during.stdout) == (0, True)
    assert "a daemon is at work already; it stays" in again.stderr
    assert f"daemon {pid} was asked to leave" in stopped.stderr
    assert after.returncode == NOT_FINISHED
    assert shell.run("daemon", "stop").stderr.startswith("no daemon is at work")


def test_a_daemon_that_cannot_begin_is_said_and_where_to_read_why(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (shell.folder / "ftorch.toml").write_text(f"[daemon]\nmetrics_port = {taken.getsockname()[1]}\n")

        refused = shell.run("daemon", "start", longest_s=60)

    assert refused.returncode == NOT_FINISHED
    assert "no daemon has begun to work" in refused.stderr
    assert "metrics cannot be served" in (shell.home / "daemon.err").read_text()


def test_a_daemon_that_would_leave_when_idle_stays_when_it_is_asked_to(shell: Shell) -> None:
    train_for_ever(shell)
    job = shell.run("submit", "job.yaml").stdout.strip()
    pid = until(lambda: at_work(shell))
    would_leave = shell.run("daemon", "status").stdout

    asked = shell.run("daemon", "start")
    shell.run("cancel", job)
    shell.run("wait", job)
    assert "and leaves when nothing is left to do" in would_leave
    assert "a daemon is at work already; it stays" in asked.stderr
    assert [line["pid"] for line in logged(shell, "daemon stays")] == [pid]
    assert (at_work(shell), "leaves" in shell.run("daemon", "status").stdout) == (pid, False)


def test_stop_ends_no_process_that_only_has_the_number(shell: Shell) -> None:
    shell.home.mkdir()
    (shell.home / "daemon.lock").touch()
    stranger = subprocess.Popen(["sleep", "60"])
    (shell.home / "daemon.pid").write_text(f"{stranger.pid}\nstays\n")

    said = shell.run("daemon", "stop")

    assert "no daemon is at work" in said.stderr
    assert stranger.poll() is None
    kill(stranger.pid)
    stranger.wait()


def hanging(folder: Path, *, hung_s: float, leave_s: float) -> subprocess.Popen[bytes]:
    """A daemon whose database hangs, once it goes round."""
    env = {"PYTHONPATH": str(ROOT / "tests"), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    words = [sys.executable, stuck.__file__, str(folder), str(hung_s), str(leave_s)]
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: "daemon started" in (folder / "daemon.log").read_text() if (folder / "daemon.log").exists() else "")
    return process


def test_a_daemon_whose_writer_hangs_is_ended_by_its_watchdog(tmp_path: Path) -> None:
    # Longer than an idle loop pauses, so that it is the writer that is found.
    process = hanging(tmp_path, hung_s=7.0, leave_s=60.0)

    assert process.wait(30) == 70
    assert "the store's writer hangs" in (tmp_path / "daemon.log").read_text()


def test_a_daemon_whose_writer_hangs_leaves_when_it_is_told_to(tmp_path: Path) -> None:
    process = hanging(tmp_path, hung_s=600.0, leave_s=1.0)

    process.send_signal(signal.SIGTERM)

    assert process.wait(30) == 0
    assert "daemon leaves although something hangs" in (tmp_path / "daemon.log").read_text()
