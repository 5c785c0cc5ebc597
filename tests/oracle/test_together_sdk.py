"""Together's own SDK and its command line, unmodified, against the emulator.

The SDK is told to check every answer by its own types, which it does not do for its users.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import together
import zstandard
from together.lib import DownloadManager

from ftorch.core.clock import ManualClock
from ftorch.emulators.together import COLLEAGUE_KEY, KEY, ORGANISATION, TogetherEmulator
from ftorch.emulators.together.bill import JOB_ATTRIBUTE
from oracle.together_drive import MODEL, SDK, dpo_file, drive, sft_file

_QUICK_CLI = "import sys; sys.argv[0] = 'tg'; from together.lib.cli import main; main()"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def emulator(clock: ManualClock) -> Iterator[TogetherEmulator]:
    with TogetherEmulator(clock) as emulator:
        yield emulator
        assert emulator.violations == []


@pytest.fixture
def sdk(emulator: TogetherEmulator) -> Iterator[together.Together]:
    with SDK(emulator) as client:
        yield client


@pytest.fixture
def job_id(sdk: together.Together, clock: ManualClock, tmp_path: Path) -> str:
    """A job that has completed."""
    file = sdk.files.upload(sft_file(tmp_path))
    clock.advance(5)
    job = sdk.fine_tuning.create(training_file=file.id, model=MODEL, lora=True, suffix="ft-a")
    clock.advance(100)
    return job.id


def test_everything_that_a_fine_tune_takes(emulator: TogetherEmulator, clock: ManualClock, tmp_path: Path) -> None:
    seen = drive(emulator, clock, tmp_path)

    assert seen.statuses == ["completed", "completed", "cancelled"]
    assert Decimal(seen.billed) == sum(emulator.service.truth(emulator.service.newest(name)) for name in seen.suffixes)


def test_the_same_file_is_uploaded_once(sdk: together.Together, emulator: TogetherEmulator, tmp_path: Path) -> None:
    first, second = (sdk.files.upload(sft_file(tmp_path)) for _ in range(2))

    assert first.id == second.id
    assert emulator.requests["PUT /upload/{id}"] == 1


def test_an_invalid_file_says_why(sdk: together.Together, clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "hello"}]}\n')

    file = sdk.files.upload(path)
    clock.advance(5)

    found = sdk.files.retrieve(file.id)
    assert found.processing_status == "INVALID_FORMAT"
    assert found.validation_report is not None
    assert "line 1" in str(found.validation_report.error)


def test_a_model_that_cannot_be_tuned_is_not_found(sdk: together.Together) -> None:
    with pytest.raises(together.NotFoundError, match="SmolLM2-135M-Instruct is not available for fine-tuning"):
        sdk.fine_tuning.model_limits(model_name="HuggingFaceTB/SmolLM2-135M-Instruct")


def test_errors_are_those_that_the_sdk_knows(emulator: TogetherEmulator, sdk: together.Together) -> None:
    with pytest.raises(together.AuthenticationError, match="Invalid API key"):
        sdk.with_options(api_key="expired").fine_tuning.list()
    with pytest.raises(together.NotFoundError):
        sdk.fine_tuning.retrieve("ft-unknown")
    emulator.service.billing_enabled.clear()
    with pytest.raises(together.NotFoundError):
        sdk.organization.usage.costs.list()


def test_the_sdk_downloads_an_adapter(
    sdk: together.Together, emulator: TogetherEmulator, job_id: str, tmp_path: Path
) -> None:
    target = tmp_path / "adapter.tar.zst"

    DownloadManager(sdk).download(
        f"/v1/finetune/download?ft_id={job_id}&checkpoint=adapter", output=target, fetch_metadata=True
    )

    assert target.read_bytes() == emulator.service.archive_of(emulator.service.newest("ft-a"))
    whole = zstandard.ZstdDecompressor().decompress(target.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        assert "adapter_model.safetensors" in archive.getnames()


def test_the_sdk_streams_an_adapter(sdk: together.Together, job_id: str) -> None:
    content = sdk.fine_tuning.content(ft_id=job_id, checkpoint="adapter").read()

    assert content[:4] == b"\x28\xb5\x2f\xfd"  # the magic number of zstd


def test_the_raw_sdk_makes_duplicates_when_answers_are_lost(
    emulator: TogetherEmulator, clock: ManualClock, tmp_path: Path
) -> None:
    """Why ftorch does not create through it. Left at its defaults, as its users have it."""
    from ftorch.emulators.server import Fault

    client = together.Together(base_url=emulator.url, api_key=KEY)
    file = client.files.upload(sft_file(tmp_path))
    clock.advance(5)
    emulator.script("POST /v1/fine-tunes", Fault.UNAVAILABLE_AFTER)

    client.fine_tuning.create(training_file=file.id, model=MODEL, lora=True, suffix="ft-a")

    assert emulator.service.creates["ft-a"] == 2


def test_user_errors_pass_through_the_sdk(emulator: TogetherEmulator, sdk: together.Together, job_id: str) -> None:
    """A status that its types do not know, and that it hands on because nobody asked it to check."""
    clock = emulator.clock
    job = sdk.fine_tuning.create(training_file=sdk.files.list().data[0].id, model=MODEL, lora=True, suffix="ft-b")
    clock.advance(20)
    emulator.service.end(emulator.service.newest("ft-b"), "user_error", "the loss is not a number")
    careless = together.Together(base_url=emulator.url, api_key=KEY, max_retries=0)

    assert str(careless.fine_tuning.retrieve(job.id).status) == "user_error"


def test_the_bill_is_read_page_by_page(
    sdk: together.Together, emulator: TogetherEmulator, clock: ManualClock, job_id: str
) -> None:
    for _ in range(3):
        clock.advance(3600)
        again = sdk.fine_tuning.create(training_file=sdk.files.list().data[0].id, model=MODEL, lora=True)
        clock.advance(100)
        assert sdk.fine_tuning.retrieve(again.id).status == "completed"
    clock.advance(2 * 3600)

    windows = list(sdk.organization.usage.costs.list(granularity="hour", limit=1, organization_id=ORGANISATION))

    assert len(windows) == 4
    items = [item for window in windows for item in window.line_items]
    assert sum(Decimal(item.cost) for item in items) == 4 * Decimal(4)
    assert job_id in {item.attributes[JOB_ATTRIBUTE] for item in items}


def test_a_colleague_sees_the_same_jobs(sdk: together.Together, job_id: str) -> None:
    (listed,) = sdk.with_options(api_key=COLLEAGUE_KEY).fine_tuning.list().data

    assert (listed.id, listed.suffix) == (job_id, "ft-a")


class CommandLine:
    """`tg` in a folder of its own, telling nobody."""

    def __init__(self, emulator: TogetherEmulator, folder: Path) -> None:
        self._folder = folder
        self._env = {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "XDG_CACHE_HOME": str(folder),
            "TOGETHER_BASE_URL": emulator.url,
            "TOGETHER_API_KEY": KEY,
            "TOGETHER_TELEMETRY_DISABLED": "1",
            "TOGETHER_DISABLE_VERSION_CHECK": "1",
        }

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _QUICK_CLI, *words, "--json"],
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def read(self, *words: str) -> Any:
        return json.loads(self("fine-tuning", *words))


def test_the_command_line_runs_a_fine_tune(emulator: TogetherEmulator, clock: ManualClock, tmp_path: Path) -> None:
    tg = CommandLine(emulator, tmp_path)
    file_id = json.loads(tg("files", "upload", str(dpo_file(tmp_path))))["id"]
    clock.advance(5)
    order = {"--training-file": file_id, "--model": MODEL, "--training-method": "dpo", "--suffix": "ft-cli"}

    told = tg("fine-tuning", "create", *(word for pair in order.items() for word in pair), "--lora", "-y")
    job = emulator.service.newest("ft-cli")
    clock.advance(100)
    archive = tmp_path / "adapter.tar.zst"
    downloaded = tg.read("download", job.id, "-c", "adapter", "-o", str(archive))

    assert job.id in told
    assert tg.read("retrieve", job.id)["status"] == "completed"
    assert [one["id"] for one in tg.read("list")] == [job.id]
    assert tg.read("list-events", job.id)[-1]["type"] == "job_complete"
    assert tg.read("list-metrics", job.id)[0]["train/global_step"] == 1
    assert tg.read("list-checkpoints", job.id)[-1]["checkpoint"] == "adapter"
    assert tg.read("model-limits", MODEL)["lora_training"]["max_rank"] == 64
    assert downloaded["size"] == archive.stat().st_size == len(emulator.service.archive_of(job))
