"""One drive through all that a fine-tune takes, by Together's own SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import together

from ftorch.core.clock import ManualClock
from ftorch.emulators.together import KEY, ORGANISATION, TogetherEmulator

MODEL = "Qwen/Qwen3-8B"
_SUFFIXES = ("ft-sft", "ft-dpo", "ft-cancelled")


def SDK(emulator: TogetherEmulator) -> together.Together:  # noqa: N802  it stands for the class
    """The SDK with its own types checked, and without second tries that would hide a failure."""
    return together.Together(base_url=emulator.url, api_key=KEY, max_retries=0, _strict_response_validation=True)


def sft_file(folder: Path) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"thing {n}?"}, {"role": "assistant", "content": "red"}]}
        for n in range(40)
    ]
    return _written(folder / "sft.jsonl", rows)


def dpo_file(folder: Path) -> Path:
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"How is thing {n}?"}]},
            "preferred_output": [{"role": "assistant", "content": "Well, thank you."}],
            "non_preferred_output": [{"role": "assistant", "content": "No."}],
        }
        for n in range(40)
    ]
    return _written(folder / "dpo.jsonl", rows)


def _written(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@dataclass(frozen=True, slots=True)
class Seen:
    """What the SDK saw."""

    suffixes: tuple[str, ...]
    statuses: list[str]
    billed: Decimal


def drive(emulator: TogetherEmulator, clock: ManualClock, folder: Path) -> Seen:
    """SFT and DPO to their ends, one job cancelled on its way, every route asked once, and the bill."""
    with SDK(emulator) as sdk:
        files = _uploaded(sdk, clock, folder)
        jobs = _created(sdk, *files)
        clock.advance(30)
        sdk.fine_tuning.cancel(jobs[2])
        clock.advance(100)
        _read_everything(sdk, jobs)
        # From the list: the third job has had an evaluation, an event that the SDK's generated types do not know.
        status_of = {job.id: str(job.status) for job in sdk.fine_tuning.list().data}
        statuses = [status_of[job] for job in jobs]
        for job in jobs[:2]:
            assert sdk.fine_tuning.retrieve(job).status == status_of[job]
        clock.advance(2 * 3600)
        windows = list(sdk.organization.usage.costs.list(granularity="hour", organization_id=ORGANISATION))
        _clean_up(sdk, jobs, files)
    billed = sum((Decimal(item.cost) for window in windows for item in window.line_items), Decimal(0))
    return Seen(_SUFFIXES, statuses, billed)


def _uploaded(sdk: together.Together, clock: ManualClock, folder: Path) -> tuple[str, str]:
    sft, dpo = (sdk.files.upload(path) for path in (sft_file(folder), dpo_file(folder)))
    sdk.files.upload(sft_file(folder))  # 409
    clock.advance(5)
    assert {file.processing_status for file in sdk.files.list().data} == {"COMPLETED"}
    assert sdk.files.content(sft.id).read() == sft_file(folder).read_bytes()
    return sft.id, dpo.id


def _created(sdk: together.Together, sft: str, dpo: str) -> list[str]:
    """Three jobs, by different words: linear and cosine, with and without everything that is optional."""
    sdk.whoami()
    create = sdk.fine_tuning.create
    plain = create(training_file=sft, model=MODEL, lora=True, suffix=_SUFFIXES[0], train_on_inputs=False, verbose=True)
    preference = create(
        training_file=dpo,
        model=MODEL,
        lora=True,
        lora_r=16,
        lora_alpha=32,
        suffix=_SUFFIXES[1],
        training_method="dpo",
        dpo_beta=0.2,
        n_epochs=2,
        n_checkpoints=2,
        batch_size=8,
        lr_scheduler_type="linear",
        random_seed=7,
        max_seq_length=1024,
    )
    tracked = create(
        training_file=sft,
        validation_file=sft,
        n_evals=2,
        model="meta-llama/Meta-Llama-3.1-8B-Instruct-Reference",
        suffix=_SUFFIXES[2],
        n_epochs=3,
        wandb_api_key="wandb-key",
        wandb_project_name="support",
        wandb_name="run",
    )
    return [plain.id, preference.id, tracked.id]


def _read_everything(sdk: together.Together, jobs: list[str]) -> None:
    assert {job.suffix for job in sdk.fine_tuning.list().data} == set(_SUFFIXES)
    for job in jobs[:2]:
        assert sdk.fine_tuning.list_events(job).data[-1].type == "job_complete"
        assert sdk.fine_tuning.list_metrics(job, resolution=5).metrics
        assert sdk.fine_tuning.list_checkpoints(job).data[-1].checkpoint == "adapter"
        assert sdk.fine_tuning.content(ft_id=job, checkpoint="adapter").read()


def _clean_up(sdk: together.Together, jobs: list[str], files: tuple[str, str]) -> None:
    sdk.fine_tuning.delete(jobs[2])
    sdk.files.delete(files[1])
