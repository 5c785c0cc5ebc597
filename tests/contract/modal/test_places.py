"""What lies where at Modal, how it comes home, and the RPCs that the provider uses."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from contract.modal_bench import ModalBench
from contract.provider_contract import INSTALLATION, SECRET
from ftorch.core.clock import ManualClock
from ftorch.core.errors import (
    ArtifactError,
    ProviderUnavailableError,
    RunRejectedError,
)
from ftorch.core.ids import Ids, run_key
from ftorch.costs.items import Window
from ftorch.emulators.modal import TOKEN_ID, TOKEN_SECRET, ModalEmulator
from ftorch.emulators.server import Fault
from ftorch.manifest.schema import BaseModelRef, Resources
from ftorch.providers.modal.names import Mark
from ftorch.providers.modal.provider import ModalProvider
from ftorch.providers.modal.settings import URL_VARIABLE, Settings
from unit.plans import plan

_WEIGHTS = "GET /files/adapter_model.safetensors"


def test_labels_are_the_tags_of_an_app_of_their_own(bench: ModalBench, emulator: ModalEmulator) -> None:
    plain = bench.submit()
    labelled = bench.submit(bench.order(plan=bench.plan.model_copy(update={"labels": {"team": "support & co"}})))

    names = {name: app_id for (_, name), app_id in emulator.service.apps.items()}
    assert (plain.place, str(labelled.place).startswith("ftorch-bench1-")) == ("ftorch-bench1", True)
    assert emulator.service.app_tags[names[str(labelled.place)]] == {"team": "support-co"}
    assert set(bench.provider.owned(INSTALLATION)) == {plain, labelled}
    assert {ref for refs in bench.provider.find([plain.key, labelled.key]).values() for ref in refs} == {
        plain,
        labelled,
    }


def test_secrets_travel_by_reference_alone(bench: ModalBench, emulator: ModalEmulator) -> None:
    ref = bench.submit()
    sandbox = bench.sandbox(ref)

    assert [emulator.service.secrets[one] for one in sandbox.order.secret_ids] == [{"HF_TOKEN": SECRET}]
    assert SECRET not in repr((sandbox.order.argv, sandbox.order.tags))
    assert not [
        path for path in bench.volume.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
    ]


def test_a_block_that_came_short_is_not_kept(bench: ModalBench, emulator: ModalEmulator, tmp_path: Path) -> None:
    """Modal's client fills it up with zeros: its length is right."""
    ref = bench.finished()
    emulator.script(_WEIGHTS, Fault.CUT)

    with pytest.raises(ArtifactError):
        bench.provider.fetch(ref, tmp_path / "a")

    assert bench.provider.fetch(ref, tmp_path / "a").files


def test_what_has_arrived_whole_is_not_asked_for_again(
    bench: ModalBench, emulator: ModalEmulator, tmp_path: Path
) -> None:
    ref = bench.finished()
    emulator.script("GET /files/adapter_config.json", Fault.ERROR, times=None)
    with pytest.raises(ProviderUnavailableError):
        bench.provider.fetch(ref, tmp_path / "a")
    emulator.clear()
    bench.provider.fetch(ref, tmp_path / "a")
    before = emulator.requests[_WEIGHTS]

    (tmp_path / "a" / "adapter_config.json").unlink()
    bench.provider.fetch(ref, tmp_path / "a")

    assert emulator.requests[_WEIGHTS] == before


def test_the_log_is_at_home_when_modal_has_forgotten_it(bench: ModalBench) -> None:
    ref = bench.finished()
    told = list(bench.provider.logs(ref, cursor=None).lines)
    bench.provider.release(ref)

    bench.sandbox(ref).lines.clear()

    assert told
    assert list(bench.provider.logs(ref, cursor=None).lines) == told


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_clock_that_is_astray_costs_no_line_of_the_log(bench: ModalBench, tmp_path: Path, minutes: int) -> None:
    astray = ManualClock(bench.clock.now() + timedelta(minutes=minutes))
    ref = bench.submit(bench.order(key=run_key(INSTALLATION, Ids().ulid(astray.now()))))
    bench.finish(ref)
    settings = Settings(TOKEN_ID, TOKEN_SECRET, bench.env[URL_VARIABLE])

    provider = ModalProvider(settings, astray, tmp_path / "logs")
    lines = provider.logs(ref, cursor=None).lines
    provider.close()

    assert (lines[0], lines[-1]) == ("started on step 0", "step 12/12")


def test_one_machine_is_never_dearer_than_its_rate(bench: ModalBench, emulator: ModalEmulator) -> None:
    """Cores and memory are limits as well as requests: Modal bills what is used where that is more."""
    ref = bench.submit()

    order = bench.sandbox(ref).order

    assert (order.gpu, order.cores, order.memory_gib) == ("T4", order.max_cores, order.max_memory_gib)


def test_the_sandbox_ends_after_the_trainer(bench: ModalBench) -> None:
    ref = bench.submit(bench.order(max_duration_s=1000))

    spec = json.loads(bench.volume.read(f"runs/{ref.key}/job.json"))

    assert spec["max_duration_s"] == 1000
    assert bench.sandbox(ref).order.timeout_s == 1120


def test_a_gpu_that_modal_has_not_is_refused(bench: ModalBench) -> None:
    with pytest.raises(RunRejectedError, match="modal has no GPU 'H1000'; it has T4, L4"):
        bench.provider.placements(plan(resources=Resources(gpu=("H1000",))))


def test_a_base_model_that_the_image_has_not_is_refused_before_anything_is_sent(
    bench: ModalBench, emulator: ModalEmulator
) -> None:
    before = bench.traffic().contents

    with pytest.raises(RunRejectedError, match="no weights of builtin:smollm2-135m"):
        bench.provider.stage(plan(base_model=BaseModelRef(id="builtin:smollm2-135m")), bench.bundle)

    assert bench.traffic().contents == before


def test_an_image_that_cannot_be_built_is_no_reason_to_try_for_ever(bench: ModalBench) -> None:
    bench.service.image_failure = "no matching distribution for torch==2.13.0"

    with pytest.raises(RunRejectedError, match="no matching distribution for torch") as caught:
        bench.provider.stage(bench.plan, bench.bundle)

    assert "`modal image logs im-" in (caught.value.hint or "")


def test_marks_of_others_are_no_runs() -> None:
    assert Mark.parse("started/notes.txt") is None
    assert Mark.parse("started/a.b.c") is None


# the drift guard

USED = {
    "AppCountLogs",
    "AppFetchLogs",
    "AppGetOrCreate",
    "AppGetTags",
    "AppList",
    "AppSetTags",
    "AuthTokenGet",
    "EnvironmentGetOrCreate",
    "ImageGetOrCreate",
    "ImageJoinStreaming",
    "SandboxCreate",
    "SandboxGetTaskId",
    "SandboxGetTimeRangeStats",
    "SandboxListV2",
    "SandboxTagsGet",
    "SandboxTerminate",
    "SandboxWait",
    "SecretGetOrCreate",
    "VolumeGetFile2",
    "VolumeGetOrCreate",
    "VolumeListFiles2",
    "VolumePutFiles2",
    "VolumeRemoveFile2",
    "WorkspaceBillingRates",
    "WorkspaceBillingReport",
    "WorkspaceNameLookup",
}
"""The RPCs that the provider needs. A new version of the client that asks for another one shows here first."""


def test_the_provider_uses_these_rpcs_and_no_others(bench: ModalBench, emulator: ModalEmulator, tmp_path: Path) -> None:
    labelled = bench.plan.model_copy(update={"labels": {"team": "a"}})
    ended = bench.submit(bench.order(plan=labelled))
    bench.finish(ended)
    bench.provider.logs(ended, cursor=None)
    bench.provider.fetch(ended, tmp_path / "a")
    bench.provider.release(ended)
    bench.provider.cancel(bench.running(bench.order(resume_from=ended)))
    fresh = type(bench.provider).from_env({**bench.env, "FTORCH_HOME": str(tmp_path / "home")}, bench.clock)
    fresh.charges(ended, ())
    fresh.find([bench.new_key()])
    list(fresh.owned(INSTALLATION))
    now = bench.clock.now()
    list(bench.bills.line_items(Window(now.replace(hour=0), now.replace(hour=23))))
    for one in bench.stages.staged_content():
        bench.stages.discard(one)
    fresh.close()

    assert {name for name in emulator.calls if not name.startswith(("GET ", "PUT "))} == USED


def test_the_provider_leaves_the_process_as_it_was_but_for_modals_own_settings(bench: ModalBench) -> None:
    before = {name for name in os.environ if name.startswith("MODAL_")}

    bench.provider.check()

    added = {name for name in os.environ if name.startswith("MODAL_")} - before
    assert added <= {"MODAL_SERVER_URL", "MODAL_MAX_THROTTLE_WAIT", "MODAL_IMAGE_BUILDER_VERSION"}
