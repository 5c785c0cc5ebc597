"""What the trainer library is told: our values, and none of its own defaults where they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftorch.trainer.arguments import tracking_environment, training_arguments
from ftorch.trainer.device import Device, _flags_name_bfloat16, memory_errors
from ftorch.trainer.errors import OutOfMemoryError, SpecError
from ftorch.trainer.folder import Folder
from ftorch.trainer.result import canonical_config
from ftorch.trainer.spec import BaseModel, Tracking, TrainSpec

CPU = Device("cpu", "a processor", "bfloat16", 2)
GPU = Device("cuda", "a card", "bfloat16", 4)


def spec(**changes: Any) -> TrainSpec:
    usual: dict[str, Any] = {"version": 1, "method": "sft", "train_file": "t", "train_sha256": "0"}
    return TrainSpec(**{**usual, "base_model": BaseModel(id="some/model"), **changes})


def arguments(device: Device = CPU, **changes: Any) -> dict[str, Any]:
    return training_arguments(spec(**changes), device, Folder(Path("/out")))


def test_every_step_is_logged_and_nothing_leaves_the_machine() -> None:
    told = arguments()

    assert (told["logging_steps"], told["report_to"], told["push_to_hub"], told["disable_tqdm"]) == (1, [], False, True)


def test_cpu_neither_autocasts_nor_recomputes() -> None:
    told = arguments(CPU)

    assert (told["bf16"], told["gradient_checkpointing"], told["use_cpu"]) == (False, False, True)


def test_gpu_autocasts_and_recomputes_without_reentering() -> None:
    told = arguments(GPU)

    assert (told["bf16"], told["gradient_checkpointing"], told["use_cpu"]) == (True, True, False)
    assert told["gradient_checkpointing_kwargs"] == {"use_reentrant": False}


def test_data_are_shuffled_by_the_seed_and_cut_at_the_end() -> None:
    told = arguments(seed=7)

    assert (told["seed"], told["data_seed"], told["truncation_mode"]) == (7, 7, "keep_start")


def test_warmup_ratio_is_told_as_a_part_of_the_steps() -> None:
    assert arguments(warmup_ratio=0.1)["warmup_steps"] == 0.1


def test_training_on_everything_unmasks_the_prompt() -> None:
    assert arguments()["completion_only_loss"] is True
    assert arguments(train_on="all")["completion_only_loss"] is False


def test_dpo_uses_its_plain_loss() -> None:
    told = arguments(method="dpo", beta=0.3)

    assert (told["loss_type"], told["beta"], told["precompute_ref_log_probs"]) == (["sigmoid"], 0.3, False)


def test_library_accepts_every_argument(tmp_path: Path) -> None:
    from trl import DPOConfig, SFTConfig

    for method, config in (("sft", SFTConfig), ("dpo", DPOConfig)):
        config(**training_arguments(spec(method=method), CPU, Folder(tmp_path)))


def test_tracker_gets_its_project_by_its_usual_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: True)
    tracking = Tracking(wandb={"project": "support"}, mlflow={"tracking_uri": "http://127.0.0.1"})

    assert tracking_environment(spec(tracking=tracking)) == {
        "WANDB_PROJECT": "support",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1",
    }
    assert arguments(tracking=tracking)["report_to"] == ["wandb", "mlflow"]
    with pytest.raises(SpecError, match=r"tracking.wandb.projekt: not a known key \(did you mean 'project'\?\)"):
        tracking_environment(spec(tracking=Tracking(wandb={"projekt": "x"})))


def test_config_is_the_same_whatever_folder_and_order_it_was_saved_with() -> None:
    base = BaseModel(id="some/model", path="/here", revision="abc")
    one = canonical_config({"base_model_name_or_path": "/a", "target_modules": ["q", "v"], "r": 4}, base)
    other = canonical_config({"base_model_name_or_path": "/b", "target_modules": ["v", "q"], "r": 4}, base)

    assert one == other
    assert (one["base_model_name_or_path"], one["revision"]) == ("some/model", "abc")


@pytest.mark.parametrize(
    ("flags", "has_it"), [("fpu avx512_bf16 sse", True), ("fpu amx_bf16", True), ("fpu avx2", False)]
)
def test_processor_flags_tell_bfloat16(tmp_path: Path, flags: str, has_it: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")

    assert _flags_name_bfloat16(tmp_path / "cpuinfo") is has_it


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_running_out_of_memory_has_one_name(error: Exception) -> None:
    with pytest.raises(OutOfMemoryError) as caught, memory_errors("lower micro_batch_size"):
        raise error

    assert (caught.value.kind, caught.value.hint) == ("OutOfMemory", "lower micro_batch_size")
