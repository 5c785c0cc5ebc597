"""`providers` and `doctor` with no, one and all credentials: nothing is sent to a provider that is not set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.shell import Shell
from ftorch.core.clock import ManualClock
from ftorch.emulators.together import KEY, TogetherEmulator
from ftorch.manifest.credentials import PROVIDER_VARIABLES

SECRET = "value-that-nobody-may-see"
NOBODY = "http://127.0.0.1:1"
REQUIRED = {name: variables.required for name, variables in PROVIDER_VARIABLES.items() if variables.required}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, {"HOME": str(tmp_path)})


def states(shell: Shell, env: dict[str, str]) -> dict[str, str]:
    done = shell.run("providers", "--json", extra=env)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    return {answer["name"]: answer["state"] for answer in json.loads(done.stdout)}


def test_without_credentials_every_remote_provider_is_not_configured(shell: Shell) -> None:
    found = states(shell, {})

    assert {found[name] for name in REQUIRED} == {"not configured"}
    assert found["local"] == "ready"


def test_doctor_is_content_without_credentials(shell: Shell) -> None:
    done = shell.run("doctor")

    assert done.returncode == 0, done.stdout
    assert "together: not configured" in done.stdout


def test_one_credential_configures_one_provider(shell: Shell) -> None:
    found = states(shell, {"TOGETHER_API_KEY": SECRET})

    assert found["together"] != "not configured"
    assert {found[name] for name in REQUIRED if name != "together"} == {"not configured"}


def test_half_of_a_pair_is_not_configured(shell: Shell) -> None:
    assert states(shell, {"MODAL_TOKEN_ID": SECRET})["modal"] == "not configured"


def test_all_credentials_from_dot_env_configure_all(shell: Shell) -> None:
    lines = [f"{variable}={SECRET}" for variables in REQUIRED.values() for variable in variables]
    (shell.folder / ".env").write_text("\n".join(lines) + "\n")
    (shell.folder / ".env").chmod(0o600)

    found = states(shell, {})

    assert "not configured" not in {found[name] for name in REQUIRED}


def test_doctor_asks_a_configured_provider_whose_key_it_is(shell: Shell) -> None:
    with TogetherEmulator(ManualClock()) as emulator:
        good, bad = ({"TOGETHER_BASE_URL": emulator.url, "TOGETHER_API_KEY": key} for key in (KEY, SECRET))
        welcome, refused = shell.run("doctor", extra=good), shell.run("doctor", extra=bad)

    assert (welcome.returncode, refused.returncode) == (0, 6)
    assert "ok    together: org-tiny-support, Tiny Support, project support" in welcome.stdout
    assert "FAIL  together: together refused the API key" in refused.stdout
    assert "set TOGETHER_API_KEY" in refused.stdout
    assert SECRET not in refused.stdout


def test_doctor_warns_about_a_dot_env_that_others_can_read(shell: Shell) -> None:
    (shell.folder / ".env").write_text(f"TOGETHER_API_KEY={SECRET}\nTOGETHER_BASE_URL={NOBODY}\n")
    (shell.folder / ".env").chmod(0o644)

    done = shell.run("doctor")

    assert "chmod 600" in done.stdout
    assert SECRET not in done.stdout
