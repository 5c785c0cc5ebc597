"""CPU seconds per training step: our trainer against a plain TRL script with the same settings, interleaved."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_PAIRS = 5
_STEPS = 8
_BATCH = 8

_PLAIN = """
import json, os, sys, time, resource
os.environ.update(OMP_WAIT_POLICY="PASSIVE", TOKENIZERS_PARALLELISM="false")
spec = json.load(open(sys.argv[1]))
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer
torch.set_num_threads(2)
rows = [json.loads(line) for line in open(spec["train"])]
model = AutoModelForCausalLM.from_pretrained(spec["base"], dtype=getattr(torch, spec["dtype"]))
tokenizer = AutoTokenizer.from_pretrained(spec["base"])
config = SFTConfig(
    output_dir=spec["out"], max_steps=spec["steps"], per_device_train_batch_size=spec["batch"], learning_rate=1e-3,
    warmup_steps=0.05, max_length=1024, seed=42, data_seed=42, logging_steps=1, report_to=[], save_strategy="no",
    gradient_checkpointing=False, bf16=False, packing=False, disable_tqdm=True, dataloader_num_workers=0, use_cpu=True,
)
lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
trainer = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
                     peft_config=lora)
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before = cpu()
trainer.train()
print(json.dumps({"cpu_s": cpu() - before}))
"""


def measure() -> list[Any]:
    """Five interleaved pairs on SmolLM2-135M; the median of the ratios is the figure."""
    from bench.run import Line

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = prepare(folder)
        rows = write_rows(folder)
        ratios = []
        for number in range(_PAIRS):
            ours, dtype = train_ours(folder, base, rows, number)
            plain = train_plain(folder, base, rows, dtype)
            ratios.append(ours / plain)
            print(f"pair {number + 1}: ours {ours / _STEPS:.2f} CPU s/step, plain TRL {plain / _STEPS:.2f}", flush=True)
    note = f"median of {_PAIRS} interleaved pairs, {_STEPS} steps x {_BATCH} rows, {dtype}"
    return [Line("trainer / plain TRL, CPU per step", statistics.median(ratios), 1.03, "x", note)]


def prepare(folder: Path) -> str:
    cache = os.environ.get("FTORCH_BENCH_BASES", str(folder / "bases"))
    command = [sys.executable, "-m", "ftorch.trainer", "prepare", "builtin:smollm2-135m", "--cache", cache]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    path: str = json.loads(done.stdout.splitlines()[-1])["path"]
    return path


def write_rows(folder: Path) -> Path:
    """Rows of the length of a support question; made here, so that a user can repeat it."""
    subjects = ("my card", "a transfer", "the app", "a refund", "my account", "the exchange rate", "a top-up", "a PIN")
    verbs = ("has not arrived", "was declined twice", "shows the wrong amount", "is still pending since Monday")
    path = folder / "train.jsonl"
    with path.open("w") as stream:
        for number in range(_STEPS * _BATCH):
            text = f"Hello, {subjects[number % 8]} {verbs[number % 4]}, what should I do about number {number}?"
            row = {
                "prompt": [{"role": "system", "content": "Name the intent."}, {"role": "user", "content": text}],
                "completion": [{"role": "assistant", "content": f"intent_{number % 8}"}],
            }
            stream.write(json.dumps(row) + "\n")
    return path


def train_ours(folder: Path, base: str, rows: Path, number: int) -> tuple[float, str]:
    spec = {
        "version": 1,
        "method": "sft",
        "base_model": {"id": "HuggingFaceTB/SmolLM2-135M-Instruct", "path": base, "revision": None},
        "train_file": str(rows),
        "train_sha256": hashlib.sha256(rows.read_bytes()).hexdigest(),
        "lora": {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": "all-linear"},
        "epochs": 1,
        "max_steps": _STEPS,
        "learning_rate": 1e-3,
        "batch_size": _BATCH,
        "max_length": 1024,
        "seed": 42,
        "threads": 2,
        "save_every_steps": 1000,
    }
    (folder / "job.json").write_text(json.dumps(spec))
    out = folder / f"out-{number}"
    subprocess.run(
        [sys.executable, "-m", "ftorch.trainer", "train", str(folder / "job.json"), "--out", str(out)],
        check=True,
        capture_output=True,
    )
    result = json.loads((out / "result.json").read_text())
    return float(result["cpu_seconds_training"]), str(result["dtype"])


def train_plain(folder: Path, base: str, rows: Path, dtype: str) -> float:
    spec = {
        "base": base,
        "train": str(rows),
        "out": str(folder / "plain"),
        "steps": _STEPS,
        "batch": _BATCH,
        "dtype": dtype,
    }
    (folder / "plain.json").write_text(json.dumps(spec))
    (folder / "plain.py").write_text(_PLAIN)
    done = subprocess.run(
        [sys.executable, str(folder / "plain.py"), str(folder / "plain.json")],
        check=True,
        capture_output=True,
        text=True,
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer["cpu_s"]
