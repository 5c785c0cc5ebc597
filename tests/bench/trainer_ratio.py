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

_CLOCK = """
import json, os, sys, time
os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="0", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
steps = []
"""

_PLAIN = (
    _CLOCK
    + """
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

spec = json.load(open(sys.argv[1]))
torch.set_num_threads(2)

class Clock(TrainerCallback):
    def on_step_begin(self, *a, **k):
        self.begun = time.process_time()
    def on_step_end(self, *a, **k):
        steps.append(time.process_time() - self.begun)

base = spec["base_model"]["path"]
model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, spec["dtype"]))
config = SFTConfig(
    output_dir=sys.argv[2], max_steps=spec["max_steps"], per_device_train_batch_size=spec["batch_size"],
    learning_rate=spec["learning_rate"], warmup_steps=0.05, max_length=spec["max_length"], seed=42, data_seed=42,
    logging_steps=1, report_to=[], save_steps=1000, gradient_checkpointing=False, bf16=False, disable_tqdm=True,
    use_cpu=True, dataloader_pin_memory=False,
)
lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
rows = Dataset.from_list([json.loads(line) for line in open(spec["train_file"])])
SFTTrainer(
    model=model, args=config, train_dataset=rows, processing_class=AutoTokenizer.from_pretrained(base),
    peft_config=lora, callbacks=[Clock()],
).train()
print(json.dumps(steps))
"""
)

_OURS = (
    _CLOCK
    + """
from ftorch.trainer.__main__ import main
from ftorch.trainer.callbacks import Reporter

begin, end = Reporter.on_step_begin, Reporter.on_step_end

def on_step_begin(self, *a, **k):
    self.begun = time.process_time()
    begin(self, *a, **k)

def on_step_end(self, *a, **k):
    end(self, *a, **k)
    steps.append(time.process_time() - self.begun)

Reporter.on_step_begin, Reporter.on_step_end = on_step_begin, on_step_end
assert main(["train", sys.argv[1], "--out", sys.argv[2]]) == 0
print(json.dumps(steps))
"""
)


def measure() -> list[Any]:
    """Five interleaved pairs on SmolLM2-135M; the median of the ratios is the figure."""
    from bench.lines import Line

    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = write_spec(folder, prepare(folder), write_rows(folder))
        for number in range(_PAIRS):
            ours = cpu_per_step(_OURS, spec, folder / f"ours-{number}")
            plain = cpu_per_step(_PLAIN, spec, folder / f"plain-{number}")
            ratios.append(ours / plain)
            print(f"pair {number + 1}: ours {ours:.2f} CPU s/step, plain TRL {plain:.2f}", flush=True)
    note = f"median of {_PAIRS} interleaved pairs, steps 3 to {_STEPS} of {_BATCH} rows, SmolLM2-135M"
    return [Line("trainer / plain TRL, CPU per step", statistics.median(ratios), 1.03, "x", note)]


def cpu_per_step(script: str, spec: Path, out: Path) -> float:
    """The median CPU seconds of a step in a process of its own; the first two warm up."""
    command = [sys.executable, "-c", script, str(spec), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    steps: list[float] = json.loads(done.stdout.splitlines()[-1])
    return statistics.median(steps[2:])


def write_spec(folder: Path, base: str, rows: Path) -> Path:
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
        "dtype": "bfloat16",
        "save_every_steps": 1000,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(spec))
    return path


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
