"""The adapter on its way home, over the emulator's own wire."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contract.together_bench import TogetherBench
from ftorch.core.errors import ArtifactError, ProviderUnavailableError
from ftorch.core.files import sha256_file
from ftorch.emulators.server import Fault
from ftorch.emulators.together import TogetherEmulator, archives
from ftorch.manifest.schema import BaseModelRef
from ftorch.providers.base import RunRef
from ftorch.providers.together import adapter, api

DOWNLOAD = "GET /v1/finetune/download"


@pytest.fixture
def run(bench: TogetherBench) -> RunRef:
    return bench.finished()


def replace(bench: TogetherBench, run: RunRef, content: bytes) -> None:
    bench.service.replace_archive(bench.service.newest(run.key), content)


def files(bench: TogetherBench, run: RunRef) -> dict[str, bytes]:
    return archives.unpack(bench.service.archive_of(bench.service.newest(run.key)))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def test_the_adapter_names_its_base_by_the_canonical_id(bench: TogetherBench, tmp_path: Path) -> None:
    llama = bench.plan.model_copy(
        update={"base_model": BaseModelRef(id="meta-llama/Llama-3.1-8B-Instruct"), "parameters": 8_030_000_000}
    )
    run = bench.submit(bench.order(plan=llama))
    bench.finish(run)

    artifact = bench.provider.fetch(run, tmp_path / "a")

    theirs = json.loads(files(bench, run)["adapter_config.json"])
    ours = json.loads((artifact.folder / "adapter_config.json").read_text())
    assert theirs["base_model_name_or_path"] == "togethercomputer/Meta-Llama-3.1-8B-Instruct-Reference__TOG__FT"
    assert ours == {**theirs, "base_model_name_or_path": "meta-llama/Llama-3.1-8B-Instruct"}


def test_the_result_lists_what_arrived(bench: TogetherBench, run: RunRef, tmp_path: Path) -> None:
    artifact = bench.provider.fetch(run, tmp_path / "a")

    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert result["files"]["adapter_model.safetensors"] == {
        "sha256": sha256_file(tmp_path / "a" / "adapter_model.safetensors"),
        "bytes": (tmp_path / "a" / "adapter_model.safetensors").stat().st_size,
    }
    assert (result["job"], result["status"]) == (run.remote_id, "succeeded")
    assert result["trained_tokens"] == artifact.trained_tokens == bench.provider.observe([run])[run].trained_tokens


def test_an_adapter_in_a_folder_of_its_own_is_found(bench: TogetherBench, run: RunRef, tmp_path: Path) -> None:
    inside = {f"checkpoint/{name}": content for name, content in files(bench, run).items()}
    replace(bench, run, archives.pack({**inside, "result.json": b"{}", "checkpoint/receipt.json": b"{}"}))

    artifact = bench.provider.fetch(run, tmp_path / "a")

    assert set(artifact.files) == {"adapter_config.json", "adapter_model.safetensors"}
    assert names(tmp_path / "a") == {*artifact.files, "result.json"}


@pytest.mark.parametrize(
    "base", ["Qwen/Qwen3-4B", "meta-llama/Llama-3.1-8B-Instruct", "togethercomputer/Qwen3-14B__TOG__FT", ""]
)
def test_an_adapter_for_another_base_is_refused(bench: TogetherBench, run: RunRef, tmp_path: Path, base: str) -> None:
    replace(bench, run, archives.for_another_base(files(bench, run), base))

    with pytest.raises(ArtifactError, match=r"is for the base model .*, job ft-.* has trained 'Qwen/Qwen3-8B'"):
        bench.provider.fetch(run, tmp_path / "a")

    assert names(tmp_path / "a") == set()


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_archive_without_an_adapter_is_refused(bench: TogetherBench, run: RunRef, tmp_path: Path, name: str) -> None:
    replace(bench, run, archives.without(files(bench, run), name))

    with pytest.raises(ArtifactError, match=f"holds no {name}"):
        bench.provider.fetch(run, tmp_path / "a")


@pytest.mark.parametrize("config", [b"{", b"[]", b"{}", b"\xff"])
def test_a_config_that_nobody_can_read_is_refused(
    bench: TogetherBench, run: RunRef, tmp_path: Path, config: bytes
) -> None:
    replace(bench, run, archives.pack({**files(bench, run), "adapter_config.json": config}))

    with pytest.raises(ArtifactError, match="cannot be read"):
        bench.provider.fetch(run, tmp_path / "a")


def test_what_is_at_home_is_not_fetched_again(
    bench: TogetherBench, run: RunRef, emulator: TogetherEmulator, tmp_path: Path
) -> None:
    first = bench.provider.fetch(run, tmp_path / "a")
    before = emulator.requests[DOWNLOAD]

    assert bench.provider.fetch(run, tmp_path / "a") == first
    assert emulator.requests[DOWNLOAD] == before


def test_the_adapter_of_another_job_is_not_taken_for_this_one(
    bench: TogetherBench, run: RunRef, emulator: TogetherEmulator, tmp_path: Path
) -> None:
    bench.provider.fetch(run, tmp_path / "a")
    before = emulator.requests[DOWNLOAD]

    bench.provider.fetch(bench.finished(), tmp_path / "a")

    assert emulator.requests[DOWNLOAD] == before + 1


def test_a_whole_archive_is_not_fetched_again_when_unpacking_was_interrupted(
    bench: TogetherBench, run: RunRef, emulator: TogetherEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(adapter, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.provider.fetch(run, tmp_path / "a")
    before = emulator.bytes_sent[DOWNLOAD]

    artifact = bench.provider.fetch(run, tmp_path / "a")

    assert emulator.bytes_sent[DOWNLOAD] == before > 0
    assert names(tmp_path / "a") == {*artifact.files, "result.json"}


def test_an_id_of_theirs_does_not_choose_where_files_go(
    bench: TogetherBench, run: RunRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = api.job
    hostile = {"id": "ft-1/../../../escaped"}
    monkeypatch.setattr(api, "job", lambda *args, **more: read(*args, **more).model_copy(update=hostile))
    parts: list[Path] = []

    def download(_http: object, _job_id: str, part: Path) -> None:
        parts.append(part)
        part.write_bytes(b"no archive")

    monkeypatch.setattr(api, "download", download)

    with pytest.raises(ArtifactError):
        bench.provider.fetch(run, tmp_path / "a" / "b" / "c" / "d")

    assert [part.parent for part in parts] == [tmp_path / "a" / "b" / "c" / "d"]


def test_no_byte_is_fetched_twice_after_a_cut(
    bench: TogetherBench, run: RunRef, emulator: TogetherEmulator, tmp_path: Path
) -> None:
    emulator.script(DOWNLOAD, Fault.CUT, times=2)

    bench.provider.fetch(run, tmp_path / "a")

    assert emulator.bytes_sent[DOWNLOAD] == len(bench.service.archive_of(bench.service.newest(run.key)))


def test_a_part_that_the_service_cannot_go_on_from_is_dropped_in_the_end(
    bench: TogetherBench, run: RunRef, emulator: TogetherEmulator, tmp_path: Path
) -> None:
    emulator.script(DOWNLOAD, Fault.CUT, times=None)
    with pytest.raises(ProviderUnavailableError):
        bench.provider.fetch(run, tmp_path / "a")
    emulator.clear()
    emulator.script(DOWNLOAD, Fault.BAD_RANGE)

    with pytest.raises(ArtifactError):
        bench.provider.fetch(run, tmp_path / "a")

    assert bench.provider.fetch(run, tmp_path / "a").files
