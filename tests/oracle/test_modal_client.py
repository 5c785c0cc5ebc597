"""Modal's own client and command line, unmodified, drive the emulator: the create, the wait, the files, the bill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ftorch.emulators.clock import FastClock
from ftorch.emulators.modal import OTHER_TOKEN_ID, OTHER_TOKEN_SECRET, TOKEN_ID, TOKEN_SECRET, ModalEmulator
from ftorch.emulators.modal.sandboxes import Status

_SETUP = """
import modal, sys, io
from datetime import datetime, timedelta, timezone
client = modal.Client.from_credentials({token!r}, {secret!r})
app = modal.App.lookup("work", client=client, create_if_missing=True)
volume = modal.Volume.from_name("data", create_if_missing=True, version=2, client=client)
image = modal.Image.debian_slim(python_version="3.12").uv_pip_install("numpy==2.4.6")

def sandbox(*argv, **more):
    wanted = dict(app=app, image=image, gpu="T4", timeout=60, volumes={{"/data": volume}}, client=client)
    return modal.Sandbox.create(*argv, **{{**wanted, **more}})

hour = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
"""


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[ModalEmulator]:
    root = tmp_path / "modal"
    root.mkdir()
    with ModalEmulator(FastClock(), folder=root) as emulator:
        yield emulator
    assert emulator.unserved == set()


def environment(emulator: ModalEmulator, home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "MODAL_SERVER_URL": emulator.url,
        "MODAL_TOKEN_ID": TOKEN_ID,
        "MODAL_TOKEN_SECRET": TOKEN_SECRET,
        "MODAL_IMAGE_BUILDER_VERSION": "2025.06",
    }


def told(emulator: ModalEmulator, home: Path, code: str, token: str = TOKEN_ID, secret: str = TOKEN_SECRET) -> str:
    """What a program with Modal's client prints."""
    done = subprocess.run(
        [sys.executable, "-c", _SETUP.format(token=token, secret=secret) + code],
        env=environment(emulator, home),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def modal(emulator: ModalEmulator, home: Path, *words: str) -> str:
    """What Modal's command line prints."""
    done = subprocess.run(
        [sys.executable, "-m", "modal", *words],
        env=environment(emulator, home),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_json(emulator: ModalEmulator, home: Path, *words: str) -> Any:
    return json.loads(modal(emulator, home, *words, "--json"))


def test_a_sandbox_runs_and_leaves_its_files_and_its_log(emulator: ModalEmulator, tmp_path: Path) -> None:
    code = """
one = sandbox("sh", "-c", "echo hello; echo new > /data/new.txt; exit 7")
one.wait()
print(one.returncode, [entry.message for entry in one.logs.fetch(since=hour)], b"".join(volume.read_file("/new.txt")))
"""
    assert told(emulator, tmp_path, code) == "7 ['hello\\n'] b'new\\n'"


def test_a_secret_and_a_tag_reach_the_sandbox(emulator: ModalEmulator, tmp_path: Path) -> None:
    code = """
secret = modal.Secret.from_dict({"WORD": "open sesame"})
one = sandbox("sh", "-c", 'test "$WORD" = "open sesame"', secrets=[secret], tags={"team": "a"})
one.wait()
print(one.returncode, one.get_tags())
"""
    assert told(emulator, tmp_path, code) == "0 {'team': 'a'}"


def test_a_named_sandbox_is_found_while_it_lives_and_refused_twice(emulator: ModalEmulator, tmp_path: Path) -> None:
    code = """
one = sandbox("sleep", "60", name="job", tags={"k": "v"})
print(modal.Sandbox.from_name("work", "job", client=client).object_id == one.object_id)
found = modal.Sandbox.list(app_id=app.app_id, tags={"k": "v"}, client=client)
print([each.object_id for each in found] == [one.object_id])
try:
    sandbox("sleep", "60", name="job")
except modal.exception.AlreadyExistsError:
    print("taken")
one.terminate()
print(one.poll(), len(list(modal.Sandbox.list(app_id=app.app_id, client=client))))
"""
    assert told(emulator, tmp_path, code).split() == ["True", "True", "taken", "137", "0"]


def test_a_sandbox_that_takes_too_long_is_ended(emulator: ModalEmulator, tmp_path: Path) -> None:
    code = """
one = sandbox("sleep", "60", timeout=1)
try:
    one.wait()
except modal.exception.SandboxTimeoutError:
    print("timeout", one.returncode)
"""
    assert told(emulator, tmp_path, code) == "timeout 124"


def test_a_client_that_is_interrupted_while_it_queues_ends_its_sandbox(emulator: ModalEmulator, tmp_path: Path) -> None:
    """Why the daemon leaves by `os._exit`: the client tidies up behind itself."""
    emulator.service.full = {"T4"}
    code = """
import signal
signal.setitimer(signal.ITIMER_REAL, 2)
def stop(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, stop)
try:
    sandbox("sleep", "60")
except KeyboardInterrupt:
    print("interrupted")
"""
    assert told(emulator, tmp_path, code) == "interrupted"
    assert [one.status for one in emulator.service.sandboxes.values()] == [Status.TERMINATED]


def test_a_large_file_comes_back_whole(emulator: ModalEmulator, tmp_path: Path) -> None:
    code = """
import hashlib, random
content = random.Random(7).randbytes(9_000_000)
with volume.batch_upload(force=True) as batch:
    batch.put_file(io.BytesIO(content), "/a/large")
back = b"".join(volume.read_file("/a/large"))
print(hashlib.sha256(back).digest() == hashlib.sha256(content).digest(), [e.path for e in volume.listdir("/a")])
"""
    assert told(emulator, tmp_path, code) == "True ['a/large']"


def test_statistics_report_and_rates_agree(emulator: ModalEmulator, tmp_path: Path) -> None:
    code = """
sandbox("true", tags={"k": "v"}).wait()
workspace = modal.Workspace.from_context(client=client)
[group] = app.sandboxes.stats(since=hour, group_by_tags=["k"])
rows = workspace.billing.report(start=hour, end=hour + timedelta(hours=1), resolution="h", tag_names=["*"])
print(group.tags, group.cost == sum(row.cost for row in rows) > 0, workspace.billing.rates()["gpu_hour_cost_t4"])
"""
    assert told(emulator, tmp_path, code) == "{'k': 'v'} True 0.59000"


def test_another_token_sees_nothing(emulator: ModalEmulator, tmp_path: Path) -> None:
    told(emulator, tmp_path, "sandbox('sleep', '30')")

    code = "print(len(list(modal.Sandbox.list(app_id=app.app_id, client=client))))"

    assert told(emulator, tmp_path, code, OTHER_TOKEN_ID, OTHER_TOKEN_SECRET) == "0"


def test_the_command_line_handles_volumes(emulator: ModalEmulator, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello")

    modal(emulator, tmp_path, "volume", "create", "files", "--version", "2")
    modal(emulator, tmp_path, "volume", "put", "files", str(tmp_path / "x.txt"), "/a/x.txt")
    [listed] = as_json(emulator, tmp_path, "volume", "ls", "files", "/a")
    modal(emulator, tmp_path, "volume", "get", "files", "/a/x.txt", str(tmp_path / "y.txt"))
    modal(emulator, tmp_path, "volume", "rm", "files", "/a/x.txt")

    assert (listed["filename"], (tmp_path / "y.txt").read_text()) == ("a/x.txt", "hello")
    assert [one["name"] for one in as_json(emulator, tmp_path, "volume", "list")] == ["files"]


def test_the_command_line_shows_apps_and_the_bill(emulator: ModalEmulator, tmp_path: Path) -> None:
    told(emulator, tmp_path, "sandbox('true').wait()")

    [app] = as_json(emulator, tmp_path, "app", "list")
    rates = as_json(emulator, tmp_path, "billing", "rates")
    rows = as_json(emulator, tmp_path, "billing", "report", "--for", "today", "-r", "h")

    assert "work" in app.values()
    assert rates["cpu_hour_cost_sandbox"] == "0.141900"
    assert all(Decimal(row["cost"]) > 0 for row in rows)
