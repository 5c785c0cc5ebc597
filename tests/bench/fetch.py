"""Fetching over ssh against the `sftp` program, on one sshd: 300 MB, verified, the two in turns."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.lines import Line
from contract.boxes import running_box
from ftorch.emulators.boxes.box import Box as Emulated
from ftorch.providers.ssh.box import Box
from ftorch.providers.ssh.hosts import host_of
from ftorch.providers.ssh.link import Link

_KEY = "ft-bench1-01m6bfp5g0wzffesc3pkw68675"
_SIZE = 300_000_000
_PAIRS = 3
_WEIGHTS = "adapter_model.safetensors"


def measure() -> list[Line]:
    """`sftp` only copies; ours also hashes what came."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_box(folder / "box", folder, counts=False) as emulated:
            _furnish(emulated)
            link = Link("ssh")
            host = host_of(f"{emulated.user}@{emulated.address}", {"HOME": name})
            pairs = [(_sftp_s(emulated, folder), _ours_s(Box(link, host, "ssh"), folder)) for _ in range(_PAIRS)]
            link.close()
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    best = f"{_SIZE / 1e6 / min(ours for _, ours in pairs):.0f}"
    theirs = f"{_SIZE / 1e6 / min(theirs for theirs, _ in pairs):.0f}"
    note = f"median of {_PAIRS} pairs on one sshd; best {best} MB/s against {theirs}; ours verified by SHA-256"
    return [Line("fetch of 300 MB by ssh / `sftp`, wall time", ratio, 1.25, "x", note)]


def _furnish(emulated: Emulated) -> None:
    out = emulated.home / "ftorch" / "runs" / _KEY / "out"
    (out / "adapter").mkdir(parents=True)
    files = {"adapter_config.json": b"{}", _WEIGHTS: os.urandom(1 << 20) * (_SIZE >> 20)}
    for name, content in files.items():
        (out / "adapter" / name).write_bytes(content)
    listed = {name: {"sha256": hashlib.sha256(one).hexdigest(), "bytes": len(one)} for name, one in files.items()}
    (out / "result.json").write_text(json.dumps({"files": listed}))
    (out.parent / "order.json").write_text("{}")


def _sftp_s(emulated: Emulated, folder: Path) -> float:
    options: list[str | Path] = [
        "-i",
        folder / ".ssh/id_ed25519",
        "-P",
        str(emulated.port),
        "-o",
        "StrictHostKeyChecking=yes",
    ]
    options += ["-o", f"UserKnownHostsFile={folder}/.ssh/known_hosts", "-F", "none", "-q"]
    source = f"{emulated.user}@{emulated.address}:ftorch/runs/{_KEY}/out/adapter/{_WEIGHTS}"
    target = folder / "by-sftp"
    begin = time.monotonic()
    subprocess.run(["sftp", *options, source, str(target)], check=True, capture_output=True)
    took_s = time.monotonic() - begin
    target.unlink()
    return took_s


def _ours_s(box: Box, folder: Path) -> float:
    dest = folder / "by-us"
    dest.mkdir()
    begin = time.monotonic()
    box.fetch(_KEY, dest)
    took_s = time.monotonic() - begin
    for path in dest.iterdir():
        path.unlink()
    dest.rmdir()
    return took_s
