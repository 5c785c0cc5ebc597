"""The runner as a process, in the folders that Ray would give it, with a stand-in for the trainer."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from pathlib import Path

from ftorch.providers.base import RunState
from ftorch.providers.ray_jobs import status
from ftorch.providers.ray_jobs.artifact import fetch
from ftorch.providers.ray_jobs.inside.mirror import Mirror
from ftorch.providers.ray_jobs.inside.runner import Run
from ftorch.providers.ray_jobs.inside.settings import Settings
from ftorch.providers.ray_jobs.markers import marked
from ftorch.providers.ray_jobs.store import UriFiles
from unit.providers.ray_jobs.cluster import EARLIER, KEY, Node, checkpoint


def _seen(node: Node, *, is_cancelled: bool = False) -> RunState:
    told = node.status()
    return status.ended(told, is_cancelled=is_cancelled, now=told.written_at).state


def test_a_run_trains_and_leaves_its_folder_among_the_sessions_logs(node: Node) -> None:
    done = node.run()

    assert done.returncode == 0, done.stdout
    assert (node.folder() / "adapter" / "adapter_model.safetensors").exists()
    assert _seen(node) is RunState.SUCCEEDED


def test_the_log_says_the_same_of_a_run_as_its_status(node: Node) -> None:
    done = node.run()

    told, said = node.status(), marked(done.stdout, KEY)
    assert said is not None
    assert (said.started_at, said.ended_at, said.exit_code) == (told.started_at, told.ended_at, told.exit_code)


def test_the_log_has_the_hash_of_the_result(node: Node) -> None:
    done = node.run()

    assert hashlib.sha256((node.folder() / "result.json").read_bytes()).hexdigest() in done.stdout


def test_the_trainers_spec_names_what_this_node_has(node: Node) -> None:
    node.run({"FTORCH_CHANGES": json.dumps({"max_duration_s": 77, "run_name": KEY})})

    spec = node.job()
    assert Path(spec["train_file"]).read_bytes() == (node.bundle.folder / "train.jsonl").read_bytes()
    assert (spec["base_model"]["path"], spec["max_duration_s"], spec["run_name"]) == ("/bases/builtin:tiny", 77, KEY)


def test_nothing_is_written_into_the_package_that_other_runs_share(node: Node) -> None:
    before = sorted(node.package.rglob("*.json"))

    node.run()

    assert sorted(node.package.rglob("*.json")) == before


def test_a_trainer_that_fails_gives_the_job_its_exit_code(node: Node) -> None:
    done = node.run(fail="the loss is not a number")

    assert done.returncode == 65
    assert _seen(node) is RunState.FAILED


def test_packages_that_are_missing_are_named(node: Node) -> None:
    (node.package / "requirements.txt").write_text("trl>=1.16,<1.17\nno-such-package>=3\ntrl>=99\n")

    done = node.run()

    told = node.status().reading.last_event["message"]
    assert done.returncode == 70
    assert "no no-such-package>=3, trl>=99:" in told
    assert "install: true" in told


def test_a_base_model_that_cannot_be_had_is_named(node: Node) -> None:
    done = node.run({"NO_BASE": "1"})

    assert done.returncode == 1
    assert "builtin:tiny failed: the Hub cannot be reached" in node.status().reading.last_event["message"]


def test_a_job_that_is_stopped_lets_the_trainer_save(node: Node) -> None:
    process = node.start(seconds=6)
    for _ in range(1000):
        if (node.folder() / "heartbeat.json").exists():
            break
        time.sleep(0.02)

    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=20) == 75
    assert node.status().reading.last_event["event"] == "interrupted"
    assert _seen(node, is_cancelled=True) is RunState.STOPPED


def test_checkpoints_of_the_run_before_are_carried_on(node: Node) -> None:
    checkpoint(node.folder(EARLIER), 4)

    node.run({"FTORCH_RESUME_FROM": EARLIER})

    assert node.job()["resume_from"] == str(node.folder(EARLIER) / "checkpoints")


def test_a_run_that_never_got_to_a_checkpoint_hands_on_the_one_before_it(node: Node) -> None:
    first = "ft-bench1-01m853egkdvypddzfanrkc5c03"
    checkpoint(node.folder(first), 4)
    node.folder(EARLIER).mkdir(parents=True)
    (node.folder(EARLIER) / "status.json").write_text(json.dumps({"resume_from": first}))

    node.run({"FTORCH_RESUME_FROM": EARLIER})

    assert node.job()["resume_from"] == str(node.folder(first) / "checkpoints")


def test_a_run_whose_forerunner_is_gone_begins_anew(node: Node) -> None:
    done = node.run({"FTORCH_RESUME_FROM": EARLIER})

    assert (done.returncode, node.job()["resume_from"]) == (0, None)


def test_checkpoints_of_a_finished_training_are_dropped(node: Node) -> None:
    checkpoint(node.folder(), 4)

    node.run()

    assert not list(node.folder().glob("checkpoints/*"))


def test_a_run_is_copied_to_the_output_uri(node: Node, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/bucket"

    done = node.run({"FTORCH_OUTPUT_URI": uri})

    assert done.returncode == 0, done.stdout
    copied = UriFiles(uri, KEY, "ray")
    assert fetch(copied, KEY, tmp_path / "home", "ray").files
    assert status.Status.parse(copied.read("status.json")) == node.status()
    assert copied.read("job.json") is None


def test_an_output_uri_that_cannot_be_written_is_no_success(node: Node, tmp_path: Path) -> None:
    (tmp_path / "bucket").write_text("a file where a folder should be")

    done = node.run({"FTORCH_OUTPUT_URI": f"file://{tmp_path}/bucket"})

    assert done.returncode == 74
    assert "the copy to file://" in done.stdout


def test_a_checkpoint_in_the_output_uri_is_brought_to_another_node(node: Node, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    checkpoint(bucket / EARLIER, 4)
    checkpoint(bucket / EARLIER, 12)

    node.run({"FTORCH_RESUME_FROM": EARLIER, "FTORCH_OUTPUT_URI": f"file://{bucket}"})

    brought = node.folder() / "earlier" / "checkpoint-12"
    assert node.job()["resume_from"] == str(node.folder() / "earlier")
    assert (brought / "adapter.bin").read_text() == "weights of step 12"
    assert (brought / ".complete").exists()


def test_of_several_workers_with_a_storage_the_writer_brings_the_checkpoints_itself(node: Node, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/bucket"
    checkpoint(node.folder(EARLIER), 4)
    checkpoint(tmp_path / "bucket" / EARLIER, 12)
    node.folder().mkdir()
    settings = Settings(KEY, node.package, 2, use_gpu=False, changes={}, resume_from=EARLIER, output_uri=uri)

    Run(settings, node.folder().parent, Mirror(uri)).make_ready()  # not as a process: it would start a Ray of its own

    assert node.job()["resume_from"] == str(node.folder() / "earlier")
    assert not (node.folder() / "earlier").exists()


def test_without_a_session_and_an_output_uri_nobody_could_read_the_run(node: Node, tmp_path: Path) -> None:
    node.package = node.package.rename(tmp_path / "elsewhere")

    done = node.run()

    assert done.returncode == 70
    assert "output_uri" in done.stdout
