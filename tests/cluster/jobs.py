"""Manifests for a real head, and what a person does with them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.head import Head
from e2e.shell import Shell, colours, write_rows

_MANIFEST = """\
version: 1
name: {name}
base_model: builtin:tiny
method: {{{method}, lora: {{rank: 8, alpha: 16}}, epochs: {epochs}, batch_size: 8, max_length: 256,
         save_every_steps: 5}}
dataset: {{path: {rows}, held_out: {{fraction: 0.2, seed: 42}}}}
provider: {{name: {provider}{options}}}
resources: {{workers: {workers}}}
budget: {{limit: 5.00 USD}}
"""
_GENERATES = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
ids = AutoTokenizer.from_pretrained(base)("Which colour?", return_tensors="pt")
print("GENERATED", model.generate(**ids, max_new_tokens=4, do_sample=False).shape[1] - ids["input_ids"].shape[1])
"""


@contextmanager
def person(head: Head, folder: Path) -> Iterator[Shell]:
    """Somebody with rows of both kinds, declared rates, and the cluster's address."""
    write_rows(folder / "rows.jsonl", colours(50))
    pairs = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": "no idea"} for row in colours(50)]
    write_rows(folder / "pairs.jsonl", pairs)
    (folder / "ftorch.toml").write_text('[ray]\nrate = "3.60 USD"\n[local]\nrate = "0.36 USD"\n')
    shell = Shell(folder, {"HOME": str(folder), "RAY_ADDRESS": head.url})
    try:
        yield shell
    finally:
        shell.end_all()


def manifest(shell: Shell, name: str, **changes: Any) -> str:
    usual = {
        "name": name,
        "method": "type: sft, learning_rate: 5.0e-3",
        "epochs": 2,
        "rows": "rows.jsonl",
        "provider": "ray",
        "options": ", ray: {cpu: true}",
        "workers": 1,
    }
    path = shell.folder / f"{name}.yaml"
    path.write_text(_MANIFEST.format(**{**usual, **changes}))
    return path.name


def trained(shell: Shell, name: str) -> dict[str, Any]:
    done = shell.run("submit", name, "--wait", "--yes", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    job: dict[str, Any] = json.loads(done.stdout)
    assert shell.run("adapters", "verify", job["adapter"]).returncode == 0
    return job


def generated(shell: Shell, head: Head, adapter: str) -> bool:
    """The adapter speaks, on the base model as the cluster has prepared it."""
    base = shell.folder / "base"
    shutil.copytree(next(head.folder.glob("ray/session_*/logs/ftorch/.bases/tiny")), base, dirs_exist_ok=True)
    return speaks(base, adapter)


def speaks(base: Path, adapter: str) -> bool:
    """The adapter on its base model generates some tokens."""
    command = [sys.executable, "-c", _GENERATES, str(base), adapter]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return re.search(r"GENERATED [1-4]\b", done.stdout) is not None


def workers(head: Head) -> list[int]:
    """The processes of Ray Train's workers, by their title."""
    return sorted(pid for pid in head.processes() if b"RayTrainWorker" in _title(pid))


def driver(head: Head) -> int:
    """The process of a job's runner: its command, and not the shell that Ray starts it with."""
    return next(pid for pid in head.processes() if _title(pid).endswith(b"\0-m\0ftorch.providers.ray_jobs.inside\0"))


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
