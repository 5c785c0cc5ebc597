"""Who leads an installation, asked by other processes: the kernel says it, whatever is written in files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftorch.core.paths import Home
from ftorch.jobs.leader import is_led, leadership
from ftorch.jobs.sign import AtWork, Sign, at_work

_LEAD = """
import sys
from pathlib import Path
from ftorch.core.paths import Home
from ftorch.jobs.leader import leadership
from ftorch.jobs.sign import Sign
home, how = Home(Path(sys.argv[1])), sys.argv[2]
with leadership(home) as is_ours:
    assert is_ours
    sign = Sign(home)
    if how != "unsigned":
        sign.show(stays=how == "stays")
    print("leads", flush=True)
    sys.stdin.readline()
    sign.take_down()
    print("has taken its sign down", flush=True)
    sys.stdin.readline()
"""
_LOOK = """
import sys
from pathlib import Path
from ftorch.core.paths import Home
from ftorch.jobs.leader import is_led
print(sum(is_led(Home(Path(sys.argv[1]))) for _ in range(3000)))
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "daemon.lock").touch()
    return Home(tmp_path)


def started(code: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@contextmanager
def leader(home: Home, how: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that leads for the length of the block, unless it is ended before."""
    process = started(_LEAD, str(home.root), how)
    assert process.stdout is not None
    assert process.stdout.readline() == "leads\n"
    yield process
    process.kill()
    process.communicate()


def test_two_that_look_at_once_take_each_other_for_no_leader(home: Home) -> None:
    lookers = [started(_LOOK, str(home.root)) for _ in range(2)]

    assert [int(looker.communicate()[0]) for looker in lookers] == [0, 0]


def test_who_looks_keeps_nobody_from_leading(home: Home) -> None:
    looker = started(_LOOK, str(home.root))
    led = []
    while looker.poll() is None:
        with leadership(home) as is_ours:
            led.append(is_ours)

    assert all(led)
    looker.communicate()


@pytest.mark.parametrize(("how", "stays"), [("stays", True), ("until idle", False)])
def test_a_leader_is_known_by_its_process_and_whether_it_stays(home: Home, how: str, stays: bool) -> None:
    with leader(home, how) as process:
        assert is_led(home)
        assert at_work(home) == AtWork(process.pid, stays)


def test_a_process_id_that_was_left_behind_is_not_believed(home: Home) -> None:
    home.daemon_pid.write_text(f"{os.getpid()}\nstays\n")
    nobody_leads = at_work(home)

    with leader(home, "unsigned"):
        assert (nobody_leads, is_led(home), at_work(home)) == (None, True, None)


def test_what_a_killed_daemon_wrote_is_not_believed(home: Home) -> None:
    with leader(home, "stays") as process:
        process.kill()
        process.communicate()

        assert home.daemon_pid.read_text().startswith(str(process.pid))
        assert (is_led(home), at_work(home)) == (False, None)


def test_a_daemon_that_leaves_takes_its_sign_down_while_it_leads(home: Home) -> None:
    with leader(home, "stays") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print(file=process.stdin, flush=True)
        process.stdout.readline()

        assert (is_led(home), at_work(home), home.daemon_pid.read_text()) == (True, None, "")


def test_a_daemon_that_stays_has_done_what_was_asked_of_it(home: Home) -> None:
    home.daemon_stay.touch()

    with leader(home, "stays"):
        assert not home.daemon_stay.exists()


def test_what_a_killed_command_asked_of_another_daemon_is_not_done(home: Home) -> None:
    home.daemon_stay.touch()

    with leader(home, "until idle"):
        assert not home.daemon_stay.exists()


def test_a_daemon_that_is_at_work_hears_what_is_asked_of_it(home: Home) -> None:
    with leadership(home):
        sign = Sign(home)
        sign.show(stays=False)
        home.daemon_stay.touch()
        sign.show(stays=False)

        assert home.daemon_stay.exists()
        sign.take_down()
