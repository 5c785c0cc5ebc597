"""What a job leaves: metrics, checkpoints, an adapter."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ftorch.emulators.together import archives
from ftorch.emulators.together.jobs import QUEUE_S, TOKENISE_S, WORK_S
from unit.emulators.desk import MODEL, Desk


def download(desk: Desk, job_id: str, **headers: str) -> httpx.Response:
    query = {"ft_id": job_id, "checkpoint": "adapter"}
    return desk.ask("GET", "/v1/finetune/download", params=query, headers=headers)


def test_metrics_have_a_row_for_every_step_and_evaluation(desk: Desk) -> None:
    training = desk.create()
    validated = desk.create(n_epochs=2, n_evals=2, validation_file=training.order.training_file)
    desk.finish(validated)
    path = f"/v1/fine-tunes/{validated.id}/metrics"

    rows = desk.get(path)["metrics"]

    steps = [row["train/global_step"] for row in rows if "train/loss" in row]
    assert steps == [float(step) for step in range(1, 11)]
    assert [row["eval/global_step"] for row in rows if "eval/loss" in row] == [5.0, 10.0]
    assert len(desk.get(path, global_step_from=9)["metrics"]) == 3
    assert len(desk.get(path, resolution=3)["metrics"]) == 3
    assert desk.get(path, logged_at_to="2026-01-01T00:00:00Z") == {"metrics": []}
    assert desk.events(validated).count("eval_complete") == 2


def test_checkpoints_are_listed_as_they_are_saved(desk: Desk) -> None:
    job = desk.create(n_epochs=4, n_checkpoints=2)
    path = f"/v1/fine-tunes/{job.id}/checkpoints"
    desk.clock.advance(QUEUE_S + TOKENISE_S + WORK_S / 2)
    half = desk.get(path)["data"]

    desk.finish(job)

    assert [one["checkpoint_type"] for one in half] == ["Intermediate (step 10)"]
    assert [one["checkpoint_type"] for one in desk.get(path)["data"]] == ["Intermediate (step 10)", "Final (step 20)"]


def test_an_adapter_is_downloaded_whole_and_in_parts(desk: Desk) -> None:
    job = desk.create()
    assert download(desk, job.id).status_code == 404
    desk.finish(job)

    whole, part = download(desk, job.id), download(desk, job.id, Range="bytes=100-199")

    assert whole.content == desk.emulator.service.archive_of(job)
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
    assert download(desk, job.id, Range=f"bytes={len(whole.content)}-").status_code == 416
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(archives.unpack(whole.content))


@pytest.mark.parametrize(
    "query", [{}, {"checkpoint": "default"}, {"checkpoint": "merged"}, {"checkpoint": "adapter", "checkpoint_step": 3}]
)
def test_other_checkpoints_are_refused(desk: Desk, query: dict[str, Any]) -> None:
    job = desk.create()
    desk.finish(job)

    assert desk.ask("GET", "/v1/finetune/download", params={"ft_id": job.id, **query}).status_code == 400


def test_the_adapter_names_the_ordered_model_as_the_service_does(desk: Desk) -> None:
    names = {}
    for model in (MODEL, "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"):
        job = desk.create(model=model)
        desk.finish(job)
        names[model] = archives.unpack(download(desk, job.id).content)["adapter_config.json"].decode()

    assert '"base_model_name_or_path": "Qwen/Qwen3-8B"' in names[MODEL]
    assert "togethercomputer/Meta-Llama-3.1-8B-Instruct-Reference__TOG__FT" in names.popitem()[1]


def test_a_job_goes_on_from_an_adapter(desk: Desk) -> None:
    earlier = desk.create()
    desk.finish(earlier)

    job = desk.create(model=None, from_checkpoint=f"{earlier.id}:5")

    assert desk.record(job)["model"] == MODEL
