"""Anyscale's own SDK, unmodified, against the emulator; and what it sends beside what we send.

It asks for versions of other packages than ours, so it has a virtual environment of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from contract.anyscale_bench import AnyscaleBench
from contract.anyscale_stand_in import StandIn
from e2e.shell import ROOT
from ftorch.core.clock import ManualClock
from ftorch.emulators.anyscale import COLLEAGUE_TOKEN, AnyscaleEmulator
from ftorch.emulators.anyscale.emulator import CREATE, LIST, Asked
from ftorch.emulators.clock import FastClock
from ftorch.emulators.server import Fault
from ftorch.manifest.schema import Resources
from ftorch.providers.anyscale.machines import CPUS

_SDK = "anyscale>=0.26.112,<0.27"
_LONGEST_S = 900
_PRESIGN = "POST /api/v2/clouds/{id}/generate_cloud_data_bucket_presigned_url"
_COMPUTE = "POST /api/v2/compute_templates/"
_NAMES = (
    "POST /api/v2/clouds/find_by_name",
    "POST /ext/v0/projects/search",
    "POST /api/v2/builds/get_or_create_build_from_image_uri",
)

pytestmark = pytest.mark.timeout(_LONGEST_S)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the SDK."""
    folder = tmp_path_factory.mktemp("sdk") / "venv"
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", _SDK]
    subprocess.run(pip, check=True, timeout=_LONGEST_S)
    return folder / "bin" / "python"


@pytest.fixture
def emulator() -> Iterator[AnyscaleEmulator]:
    with AnyscaleEmulator(FastClock()) as emulator:
        yield emulator
        assert emulator.violations == []


class Sdk:
    """The SDK in a folder of its own."""

    def __init__(self, python: Path, emulator: AnyscaleEmulator, folder: Path) -> None:
        self._python = python
        self._emulator = emulator
        self._folder = folder
        (folder / "package").mkdir()
        (folder / "package" / "main.py").write_text('print("step 1/1")\n')
        self.write({})

    def write(self, changes: Mapping[str, object]) -> None:
        """What it is told to order."""
        order = {
            "name": "support",
            "entrypoint": "python -u main.py",
            "machine": {"CPU": CPUS, "GPU": 1, "memory": "24Gi", "accelerator": "T4"},
            "requirements": None,
            "env_vars": {"FTORCH_WORKERS": "1"},
            "tags": {"ftorch_job": "support"},
            "timeout_s": 900,
        }
        (self._folder / "order.json").write_text(json.dumps({**order, **changes}))

    def __call__(self, verb: str) -> Any:
        done = subprocess.run(
            [str(self._python), str(ROOT / "tests" / "oracle" / "anyscale_drive.py"), str(self._folder), verb],
            env={
                "HOME": str(self._folder),
                "PATH": os.environ["PATH"],
                "ANYSCALE_HOST": self._emulator.url,
                "ANYSCALE_CLI_TOKEN": COLLEAGUE_TOKEN,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.rpartition("SEEN ")[2])


@pytest.fixture
def sdk(python: Path, emulator: AnyscaleEmulator, tmp_path: Path) -> Sdk:
    return Sdk(python, emulator, tmp_path)


def test_the_sdk_submits_follows_reads_lists_and_ends_jobs(sdk: Sdk, emulator: AnyscaleEmulator) -> None:
    seen = sdk("whole")

    assert seen["states"] == ["STARTING", "SUCCEEDED", "TERMINATED"]
    assert seen["listed"] == seen["ids"][:1]
    assert seen["log"] == "step 1/1\n"
    assert emulator.service.creates["support"] == 2


def test_the_same_folder_is_uploaded_once(sdk: Sdk, emulator: AnyscaleEmulator) -> None:
    sdk("whole")

    assert set(emulator.service.received.values()) == {1}


def test_a_job_that_fails_is_paid_twice_by_whoever_names_no_number(sdk: Sdk, emulator: AnyscaleEmulator) -> None:
    """Why `max_retries: 0` is always sent."""
    sdk.write({"entrypoint": "false"})

    assert sdk("careless") == "FAILED"
    assert len(emulator.service.newest("support").runs) == 2


def test_a_create_whose_answer_is_lost_is_an_error_and_a_job(sdk: Sdk, emulator: AnyscaleEmulator) -> None:
    emulator.script(CREATE, Fault.UNAVAILABLE_AFTER)

    assert "ApiException" in sdk("lost")
    assert emulator.service.creates["support"] == 1


def test_a_service_that_stumbles_is_told_as_a_job_that_is_not_there(sdk: Sdk, emulator: AnyscaleEmulator) -> None:
    """Why its word for it is not relied upon."""
    emulator.script("GET /ext/v0/production_jobs/{id}", Fault.ERROR, times=None)

    assert "was not found" in sdk("stumbling")


# what it sends, and what we send


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[AnyscaleBench]:
    """Our provider on an emulator of its own, so that its requests are told apart."""
    clock = ManualClock()
    work = StandIn(clock, tmp_path / "ours" / "bucket")
    (tmp_path / "ours").mkdir()
    with AnyscaleEmulator(clock, work=work) as emulator:
        bench = AnyscaleBench(emulator, work, clock, tmp_path / "ours")
        yield bench
        bench.close()


def _asked(bench: AnyscaleBench, route: str) -> Asked:
    return _last(bench.emulator, route)


def _last(emulator: AnyscaleEmulator, route: str) -> Asked:
    return next(one for one in reversed(emulator.asked) if one.route == route)


def _names(value: object, prefix: str = "") -> set[str]:
    """The dotted names of all that is in a body; what users name themselves is left aside."""
    if not isinstance(value, dict) or prefix in ("tags.", "config.runtime_env.env_vars."):
        return {prefix.rstrip(".")}
    return {name for key, inner in value.items() for name in _names(inner, f"{prefix}{key}.")}


def test_our_create_differs_from_the_sdks_in_what_we_know_of(
    sdk: Sdk, emulator: AnyscaleEmulator, ours: AnyscaleBench
) -> None:
    ours.submit(ours.order(max_duration_s=300))
    mine = _asked(ours, CREATE).body
    sdk.write({"requirements": list(mine["config"]["runtime_env"]["pip"])})
    sdk("whole")
    theirs = _last(emulator, CREATE).body

    assert _names(mine) - _names(theirs) == {"description"}
    # Where the folder lies on the laptop is nobody's business.
    assert _names(theirs) - _names(mine) == {"config.runtime_env.user_provided_working_dir"}
    for name in ("build_id", "max_retries", "timeout_s"):
        assert mine["config"][name] == theirs["config"][name], name
    assert mine["config"]["runtime_env"]["pip"] == theirs["config"]["runtime_env"]["pip"]


@pytest.mark.parametrize(("workers", "verb"), [(1, "whole"), (2, "workers")])
def test_our_machines_are_described_as_the_sdk_describes_them(
    sdk: Sdk, emulator: AnyscaleEmulator, ours: AnyscaleBench, workers: int, verb: str
) -> None:
    ours.plan = ours.plan.model_copy(update={"resources": Resources(gpu=("T4",), workers=workers)})
    ours.submit()
    sdk(verb)

    assert _asked(ours, _COMPUTE).body["config"] == _last(emulator, _COMPUTE).body["config"]


def test_our_package_goes_where_the_sdks_goes(sdk: Sdk, emulator: AnyscaleEmulator, ours: AnyscaleBench) -> None:
    ours.staged()
    sdk("whole")
    mine, theirs = _asked(ours, _PRESIGN).body, _last(emulator, _PRESIGN).body

    for body in (mine, theirs):
        assert re.fullmatch(r"pkg_[0-9a-f]{32}\.zip", body["file_name"])
    assert {**mine, "file_name": ""} == {**theirs, "file_name": ""}


def test_an_image_and_names_are_resolved_as_the_sdk_does(
    sdk: Sdk, emulator: AnyscaleEmulator, ours: AnyscaleBench
) -> None:
    options = {**ours.plan.options["anyscale"], "image_uri": "docker.io/tiny/train:1", "cloud": "hosted"}
    ours.plan = ours.plan.model_copy(update={"options": {"anyscale": {**options, "project": "default"}}})
    ours.submit()
    sdk("image")

    for route in _NAMES:
        assert _asked(ours, route).body == _last(emulator, route).body, route
    assert "pip" not in _asked(ours, CREATE).body["config"]["runtime_env"]


def test_our_list_asks_with_words_that_the_sdk_uses(sdk: Sdk, emulator: AnyscaleEmulator, ours: AnyscaleBench) -> None:
    ours.provider.find([ours.new_key()])
    sdk("whole")
    mine, theirs = _asked(ours, LIST).query, _last(emulator, LIST).query

    assert mine["type_filter"] == theirs["type_filter"] == ("BATCH_JOB",)
    assert all(re.fullmatch(r"[^:]+:.+", value) for value in (*mine["tag_filter"], *theirs["tag_filter"]))
    assert set(mine) - set(theirs) <= {"archive_status", "count", "sort_field", "sort_order"}


def test_every_route_of_ours_is_one_of_the_sdks_but_for_the_bill(
    sdk: Sdk, emulator: AnyscaleEmulator, ours: AnyscaleBench
) -> None:
    ref = ours.finished()
    ours.provider.logs(ref, cursor=None)
    ours.provider.cancel(ours.running())
    list(ours.provider.owned("bench1"))
    for verb in ("whole", "workers", "image", "plain"):
        sdk(verb)

    mine = {one.route for one in ours.emulator.asked}
    theirs = {one.route for one in emulator.asked}
    # Compute configs by name: the SDK asks so where its user names one.
    assert mine - theirs == {"POST /api/v2/compute_templates/search"}
