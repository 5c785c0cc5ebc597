"""`ftorch emulator` as a person starts it: a process that prints what to set and ends when it is told to."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from e2e.shell import Shell, until
from ftorch.core.clock import parse_rfc3339


@contextmanager
def up(
    folder: Path, *words: str, name: str = "together", lines: int = 2, end: signal.Signals = signal.SIGTERM
) -> Iterator[dict[str, str]]:
    """The variables that it prints; it must end by itself, and well."""
    process = Shell(folder).start("emulator", "up", name, *words)
    assert process.stdout is not None
    try:
        told = [process.stdout.readline().strip().partition("=") for _ in range(lines)]
        yield {variable: value for variable, _, value in told}
    finally:
        process.send_signal(end)
        _, words_of_end = process.communicate(timeout=60)
    assert process.returncode == 0, words_of_end


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_what_to_set_answers_and_ends_when_told_to(tmp_path: Path, end: signal.Signals) -> None:
    with up(tmp_path, end=end) as variables:
        url, key = variables["TOGETHER_BASE_URL"], variables["TOGETHER_API_KEY"]
        answer = httpx.get(f"{url}/v3/whoami", headers={"Authorization": f"Bearer {key}"})

    assert answer.json()["type"] == "project_api_key"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_doctor_finds_an_emulated_anyscale_by_the_variables_that_it_prints(tmp_path: Path) -> None:
    with up(tmp_path, name="anyscale") as variables:
        doctor = Shell(tmp_path, env=variables).run("doctor")

    assert "ok    anyscale: org_tinysupport, Tiny Support" in doctor.stdout, doctor.stdout


def test_its_clock_goes_as_fast_as_asked_and_can_be_moved(tmp_path: Path) -> None:
    with up(tmp_path, "--speed", "3600") as variables:
        url = variables["TOGETHER_BASE_URL"]
        late = datetime.now(UTC) + timedelta(hours=1)
        until(lambda: parse_rfc3339(httpx.get(f"{url}/_emulator").json()["now"]) > late)

        moved = httpx.post(f"{url}/_emulator/clock", json={"advance_s": 86400 * 30}).json()

    assert parse_rfc3339(moved["now"]) > late + timedelta(days=30)


def test_it_takes_the_port_that_is_asked_for_or_says_why_not(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = Shell(tmp_path).run("emulator", "up", "together", "--port", port)

    assert refused.returncode == 2
    assert f"port {port} cannot be had: Address already in use" in refused.stderr
    with up(tmp_path, "--port", port) as variables:
        assert variables["TOGETHER_BASE_URL"] == f"http://127.0.0.1:{port}"


def test_without_a_command_it_lists_what_there_is(tmp_path: Path) -> None:
    listed = Shell(tmp_path).run("emulator")

    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        "anyscale",
        "lambda",
        "modal",
        "ray",
        "together",
    ]


def test_time_that_does_not_go_forward_is_refused(tmp_path: Path) -> None:
    refused = Shell(tmp_path).run("emulator", "up", "together", "--speed", "0")

    assert refused.returncode == 2
    assert "hint: give a number above 0" in refused.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_modal_prints_what_to_set_answers_and_ends_when_told_to(tmp_path: Path, end: signal.Signals) -> None:
    with up(tmp_path, name="modal", lines=3, end=end) as variables:
        doctor = Shell(tmp_path, variables).run("doctor")

    assert sorted(variables) == ["MODAL_SERVER_URL", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"]
    assert "tiny-workspace" in doctor.stdout, doctor.stderr


def test_modal_takes_the_port_that_is_asked_for_or_says_why_not(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = Shell(tmp_path).run("emulator", "up", "modal", "--port", port)

    assert refused.returncode == 2
    assert f"port {port} cannot be had: Address already in use" in refused.stderr
    with up(tmp_path, "--port", port, name="modal", lines=3) as variables:
        assert variables["MODAL_SERVER_URL"] == f"http://127.0.0.1:{port}"


def test_modal_is_not_told_how_to_train(tmp_path: Path) -> None:
    refused = Shell(tmp_path).run("emulator", "up", "modal", "--train", "genuine")

    assert refused.returncode == 2
    assert "a sandbox runs what it is told to" in refused.stderr


def test_lambda_prints_what_to_set_and_ends_its_machines_with_itself(tmp_path: Path) -> None:
    with up(tmp_path, name="lambda", lines=5, end=signal.SIGINT) as variables:
        doctor = Shell(tmp_path, variables).run("doctor")
        machine = rented(variables)
        socket.create_connection(machine, timeout=5).close()

    assert sorted(variables) == [
        "LAMBDA_API_BASE",
        "LAMBDA_API_KEY",
        "LAMBDA_DEADMAN_API_KEY",
        "LAMBDA_SSH_PORT",
        "LAMBDA_SSH_USER",
    ]
    assert "the Lambda workspace of your API key" in doctor.stdout, doctor.stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(machine, timeout=5)


def rented(variables: Mapping[str, str]) -> tuple[str, int]:
    """Where a machine listens that was launched and has booted."""
    base = variables["LAMBDA_API_BASE"]
    with httpx.Client(headers={"Authorization": f"Bearer {variables['LAMBDA_API_KEY']}"}) as client:
        client.post(f"{base}/ssh-keys", json={"name": "mine", "public_key": "ssh-ed25519 AAAA"}).raise_for_status()
        order = {"region_name": "us-east-1", "instance_type_name": "cpu_4x_general", "ssh_key_names": ["mine"]}
        client.post(f"{base}/instance-operations/launch", json=order).raise_for_status()
        client.post(f"{base.removesuffix('/api/v1')}/_emulator/clock", json={"advance_s": 120})
        address = until(lambda: client.get(f"{base}/instances").json()["data"][0]["ip"])
    return str(address), int(variables["LAMBDA_SSH_PORT"])
