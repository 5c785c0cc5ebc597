"""A box and its connection: strangers, silence, cuts, and machines that cannot train."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from contract.boxes import running_box
from ftorch.core.errors import ArtifactError, CredentialsError, ProviderUnavailableError, RunNotFoundError
from ftorch.emulators.boxes.box import Box as Emulated
from ftorch.emulators.boxes.box import Gpu
from ftorch.providers.ssh.box import Box, Machine, read_many
from ftorch.providers.ssh.hosts import host_of
from ftorch.providers.ssh.link import Host, Link, StrangeHostError

KEY = "ft-abc123-01m6bfp5g0wzffesc3pkw68675"
SIZE = 8 << 20


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulated, Path]]:
    folder = tmp_path_factory.mktemp("box")
    with running_box(folder / "box", folder) as running:
        yield running, folder


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link("ssh", connect_s=5)
    yield made
    made.close()


@pytest.fixture
def host(emulated: tuple[Emulated, Path]) -> Host:
    machine, folder = emulated
    return host_of(f"{machine.user}@{machine.address}", {"HOME": str(folder)})


@pytest.fixture
def box(link: Link, host: Host, emulated: tuple[Emulated, Path]) -> Iterator[Box]:
    yield Box(link, host, "ssh", answer_s=10)
    emulated[0].heal()


def finished(emulated: Emulated, size: int = SIZE) -> None:
    """A run that has succeeded, with one large file."""
    import hashlib
    import os

    out = emulated.home / "ftorch" / "runs" / KEY / "out"
    (out / "adapter").mkdir(parents=True, exist_ok=True)
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": os.urandom(size)}
    for name, content in files.items():
        (out / "adapter" / name).write_bytes(content)
    listed = {name: {"sha256": hashlib.sha256(one).hexdigest(), "bytes": len(one)} for name, one in files.items()}
    (out / "result.json").write_text(json.dumps({"files": listed}))
    (out.parent / "order.json").write_text("{}")


def test_a_stranger_is_told_nothing(link: Link, host: Host, emulated: tuple[Emulated, Path]) -> None:
    before = emulated[0].asked().total()
    stranger = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()

    with pytest.raises(StrangeHostError, match="is not known by its host key"):
        Box(link, replace(host, host_key=stranger, port=emulated[0].port, config=None), "ssh").probe()

    assert emulated[0].asked().total() == before


def test_a_machine_that_nobody_knows_yet_is_refused_with_what_to_do(link: Link, host: Host) -> None:
    with pytest.raises(StrangeHostError) as caught:
        Box(link, replace(host, known_hosts=None), "ssh").probe()

    assert "compare the fingerprint" in (caught.value.hint or "")


def test_a_key_that_is_not_let_in_is_named(link: Link, host: Host, tmp_path: Path) -> None:
    other = tmp_path / "id"
    other.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())

    with pytest.raises(CredentialsError, match="does not let us in"):
        Box(link, replace(host, identities=(other,)), "ssh").probe()


def test_the_probe_sees_the_gpu(box: Box) -> None:
    machine = box.probe()

    assert (len(machine.gpus), machine.cuda_error) == (1, "")
    assert machine.fault(needs_gpu=True, needed_bytes=1) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"python": "3.8.10"}, "3.10 or newer"),
        ({"gpus": ()}, "no NVIDIA GPU"),
        ({"cuda_error": "cuInit failed with CUDA error 802"}, "802"),
        ({"free_bytes": 1 << 30}, "1 GiB of free disk; 20 are needed"),
    ],
)
def test_a_machine_that_cannot_train_says_why(changes: dict[str, object], words: str) -> None:
    good = Machine("x86_64", "3.12.3", 1 << 40, ["GPU 0"], "")

    assert good.fault(needs_gpu=True) == ""
    assert words in replace(good, **changes).fault(needs_gpu=True)  # type: ignore[arg-type]


def test_a_machine_without_a_gpu_may_train_where_that_is_wanted() -> None:
    assert Machine("x86_64", "3.12.3", 1 << 40, (), "no driver").fault(needs_gpu=False) == ""


def test_a_file_that_was_cut_is_gone_on_with_and_no_byte_comes_twice(
    box: Box, emulated: tuple[Emulated, Path], tmp_path: Path
) -> None:
    finished(emulated[0])
    before = emulated[0].sent()
    emulated[0].fault("send", "cut", times=3)

    box.fetch(KEY, tmp_path / "a")

    assert emulated[0].sent() - before == SIZE + len("{}")
    source = emulated[0].home / "ftorch/runs" / KEY / "out/adapter/adapter_model.safetensors"
    assert (tmp_path / "a/adapter_model.safetensors").read_bytes() == source.read_bytes()


def test_a_connection_that_really_ends_is_made_again(box: Box, emulated: tuple[Emulated, Path], tmp_path: Path) -> None:
    finished(emulated[0])
    box.probe()
    emulated[0].cut()

    assert box.fetch(KEY, tmp_path / "a").files


def test_a_corrupt_beginning_is_not_built_upon(box: Box, emulated: tuple[Emulated, Path], tmp_path: Path) -> None:
    finished(emulated[0])
    dest = tmp_path / "a"
    dest.mkdir()
    (dest / "adapter_model.safetensors.part").write_bytes(b"x" * 1000)

    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        box.fetch(KEY, dest)

    assert box.fetch(KEY, dest).files


def test_a_part_that_is_longer_than_the_file_is_begun_anew(
    box: Box, emulated: tuple[Emulated, Path], tmp_path: Path
) -> None:
    finished(emulated[0], size=1000)
    dest = tmp_path / "a"
    dest.mkdir()
    (dest / "adapter_model.safetensors.part").write_bytes(b"x" * 5000)

    assert box.fetch(KEY, dest).files


def test_a_run_that_is_not_there_is_not_found(box: Box, tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        box.fetch("ft-abc123-01m6bfp5g0wzffesc3pkw68699", tmp_path / "a")


def test_a_machine_that_does_not_answer_holds_up_no_other(link: Link, host: Host, tmp_path: Path) -> None:
    with running_box(tmp_path / "slow", tmp_path) as slow:
        slow.fault("read", "slow", value="20")
        silent = host_of(f"{slow.user}@{slow.address}", {"HOME": str(tmp_path)})
        begin = time.monotonic()

        answers = read_many(link, "ssh", {host: [KEY], silent: [KEY]}, timeout_s=3)

    assert isinstance(answers[host], dict)
    assert isinstance(answers[silent], ProviderUnavailableError)
    assert time.monotonic() - begin < 15


def test_a_machine_that_is_off_is_unavailable(link: Link) -> None:
    nobody = Host("root", "127.0.0.1", 1, known_hosts=None, host_key=asyncssh.generate_private_key("ssh-ed25519"))

    with pytest.raises(ProviderUnavailableError, match="cannot be reached"):
        Box(link, nobody, "ssh").probe()


def test_a_dead_gpu_is_seen_although_the_driver_lists_it(link: Link, tmp_path: Path) -> None:
    with running_box(tmp_path / "dead", tmp_path, gpu=Gpu(cuda=802)) as dead:
        host = host_of(f"{dead.user}@{dead.address}", {"HOME": str(tmp_path)})
        machine = Box(link, host, "ssh").probe()

    assert len(machine.gpus) == 1
    assert "802 (the system is not ready)" in machine.fault(needs_gpu=True)


def test_nothing_runs_when_the_link_is_closed_twice(host: Host) -> None:
    link = Link("ssh")
    link.close()
    link.close()
