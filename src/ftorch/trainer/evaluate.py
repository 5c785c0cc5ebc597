"""Evaluation: what a model answers to held-out rows, or which answer it prefers.

Nothing is judged here; metrics and gate are pure and elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import torch

from ftorch.trainer import models
from ftorch.trainer.bases import Located
from ftorch.trainer.device import Device, choose, memory_errors, peak_rss_bytes
from ftorch.trainer.errors import SpecError
from ftorch.trainer.files import JsonLines, described, read_lines, write_lines, write_object
from ftorch.trainer.folder import seconds_per_phase
from ftorch.trainer.result import record
from ftorch.trainer.rows import Row
from ftorch.trainer.scoring import Scorer
from ftorch.trainer.session import Session
from ftorch.trainer.spec import EvaluateSpec, Job

LIBRARIES = ("torch", "transformers", "peft", "safetensors")

Scores = dict[str, Any]
Score = Callable[[Sequence[int]], list[Scores]]
"""Scores the rows with these numbers."""


def evaluate(job: Job[EvaluateSpec], base: Located, rows: Sequence[Row], session: Session) -> None:
    """Score the rows that are not in partial.jsonl yet, then write scores and result."""
    models.quieten()
    done = _done_before(job, session)
    with memory_errors("lower batch_size or max_length"):
        torch.manual_seed(job.spec.seed)
        device = choose(job.spec.dtype, job.spec.threads)
        session.phase("load")
        scorer = _scorer(job, base, device, session)
        session.phase("tokenize")
        questions = [scorer.question(row.parts["prompt"]) for row in rows]
        longest = _max_new_tokens(job.spec, scorer, rows)
        score = _scoring(job.spec, scorer, rows, questions, longest)
        session.phase("score")
        _score_all(job, score, _batches(questions, job.spec.batch_size), done, session)
    _finish(job, base, device, longest, [done[number] for number in range(len(rows))], session)


def _done_before(job: Job[EvaluateSpec], session: Session) -> dict[int, Scores]:
    lines = list(read_lines(session.folder.partial))
    if any(line.get("fingerprint", job.fingerprint) != job.fingerprint for line in lines):
        raise SpecError(f"{session.folder.partial} belongs to another job", hint="give another --out")
    return {line["row"]: line for line in lines if "row" in line}


def _scorer(job: Job[EvaluateSpec], base: Located, device: Device, session: Session) -> Scorer:
    spec = job.spec
    tokenizer = models.load_tokenizer(base.path)
    model = models.load_base(base.path, device)
    if spec.adapter:
        model = models.load_adapter(model, job.path(spec.adapter), spec.base_model, session, is_trainable=False)
        if spec.kind == "generate":
            model = model.merge_and_unload()  # an adapter beside the weights costs 25 to 45 % of the speed
    return Scorer(model.to(device.kind).eval(), tokenizer, spec.max_length, spec.chat_template_kwargs)


def _max_new_tokens(spec: EvaluateSpec, scorer: Scorer, rows: Sequence[Row]) -> int | None:
    if spec.kind == "preference":
        return None
    if spec.max_new_tokens:
        return spec.max_new_tokens
    references = (scorer.answer_tokens(row.parts["prompt"], row.parts["completion"]) for row in rows)
    return math.ceil(1.5 * max(references))


def _batches(questions: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Row numbers, longest first. Made from all rows, so that a resumed evaluation pads each row as before."""
    order = sorted(range(len(questions)), key=lambda number: (-len(questions[number]), number))
    return [order[first : first + size] for first in range(0, len(order), size)]


def _score_all(
    job: Job[EvaluateSpec], score: Score, batches: Sequence[list[int]], done: dict[int, Scores], session: Session
) -> None:
    partial = JsonLines(session.folder.partial)
    partial.append({"fingerprint": job.fingerprint})
    total = session.progress.total_steps = sum(map(len, batches))
    for batch in batches:
        if not all(number in done for number in batch):
            for scores in score(batch):
                partial.append(scores)
                done[scores["row"]] = scores
        session.progress.step = sum(number in done for number in range(total))
        session.say(f"row {session.progress.step}/{total}")
    partial.close()


def _scoring(
    spec: EvaluateSpec, scorer: Scorer, rows: Sequence[Row], questions: Sequence[list[int]], longest: int | None
) -> Score:
    if longest is None:
        return _preferring(spec, scorer, rows)
    return _generating(spec, scorer, rows, questions, longest)


def _generating(
    spec: EvaluateSpec, scorer: Scorer, rows: Sequence[Row], questions: Sequence[list[int]], longest: int
) -> Score:
    def score(batch: Sequence[int]) -> list[Scores]:
        answers = scorer.generate([questions[number] for number in batch], longest)
        return [
            {
                "row": number,
                "row_sha256": rows[number].sha256,
                "output": scorer.tokenizer.decode(answer, skip_special_tokens=True),
                "reference": rows[number].parts["completion"][0]["content"],
                "prompt_tokens": len(questions[number]),
                "output_tokens": len(answer),
                **_label_choice(spec.labels, scorer, rows[number]),
            }
            for number, answer in zip(batch, answers, strict=True)
        ]

    return score


def _label_choice(labels: Sequence[str] | None, scorer: Scorer, row: Row) -> Scores:
    if labels is None:
        return {}
    prefix, tails = scorer.labelled(row.parts["prompt"], labels)
    likely = dict(zip(labels, scorer.log_probabilities(prefix, tails), strict=True))
    return {"label": max(likely, key=lambda label: likely[label]), "label_logprobs": likely}


def _preferring(spec: EvaluateSpec, scorer: Scorer, rows: Sequence[Row]) -> Score:
    def score(batch: Sequence[int]) -> list[Scores]:
        return [
            {"row": number, "row_sha256": rows[number].sha256, **_preference(spec, scorer, rows[number])}
            for number in batch
        ]

    return score


def _preference(spec: EvaluateSpec, scorer: Scorer, row: Row) -> Scores:
    prefix, tails = scorer.answered(row.parts["prompt"], [row.parts["chosen"], row.parts["rejected"]])
    chosen, rejected = scorer.log_probabilities(prefix, tails)
    scores: Scores = {"prompt_tokens": len(prefix), "chosen_logp": chosen, "rejected_logp": rejected}
    if spec.adapter is None:
        return {**scores, "base_chosen_logp": None, "base_rejected_logp": None, "margin": chosen - rejected}
    with scorer.model.disable_adapter():
        base_chosen, base_rejected = scorer.log_probabilities(prefix, tails)
    margin = spec.beta * ((chosen - base_chosen) - (rejected - base_rejected))
    return {**scores, "base_chosen_logp": base_chosen, "base_rejected_logp": base_rejected, "margin": margin}


def _finish(
    job: Job[EvaluateSpec], base: Located, device: Device, longest: int | None, scores: list[Scores], session: Session
) -> None:
    session.phase("save")
    spec, folder = job.spec, session.folder
    write_lines(folder.scores, scores)
    session.event("succeeded", step=len(scores))
    seconds = seconds_per_phase(read_lines(folder.events)).get("score", 0.0)
    output_tokens = sum(row.get("output_tokens", 0) for row in scores)
    write_object(
        folder.result,
        {
            **record(job, session, base.revision),
            "kind": spec.kind,
            "rows": len(scores),
            "rows_sha256": job.identity["rows_sha256"],
            "adapter_sha256": job.identity["adapter"],
            "prompt_tokens": sum(row["prompt_tokens"] for row in scores),
            "output_tokens": output_tokens,
            "seconds": seconds,
            "tokens_per_second": round(output_tokens / seconds, 2) if seconds else None,
            "files": {folder.scores.name: described(folder.scores)},
            "peak_rss_bytes": peak_rss_bytes(),
            "device": device.kind,
            "device_name": device.name,
            "dtype": device.dtype,
            "threads": device.threads,
            "versions": {name: version(name) for name in LIBRARIES},
            "effective": _effective(spec, longest),
        },
    )


def _effective(spec: EvaluateSpec, longest: int | None) -> dict[str, Any]:
    return {
        "decoding": "greedy" if spec.kind == "generate" else None,
        "max_new_tokens": longest,
        "batch_size": spec.batch_size,
        "max_length": spec.max_length,
        "labels": spec.labels,
        "beta": spec.beta if spec.kind == "preference" else None,
        "chat_template_kwargs": spec.chat_template_kwargs,
    }
