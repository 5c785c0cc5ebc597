"""`ftorch decide`: the evidence for one job or manifest, the answer, and the figures at which it would be another one.

Evidence is what evaluations found on held-out rows, what the lifetime says of the money, and what a person states under
`task` with its source. Nothing is sent and nobody is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from ftorch.core.errors import UsageError
from ftorch.core.quality import QualityState
from ftorch.costs.lifetime import LifetimeReport, case_of, lifetime
from ftorch.costs.thresholds import Threshold, thresholds
from ftorch.evals.intervals import wilson
from ftorch.jobs.advice.rule import (
    AT_SCALE,
    CONFIDENCE,
    KNOWLEDGE_SHARE,
    PROMPTING,
    RETRIEVAL,
    VOLUME,
    Condition,
    Evidence,
    Finding,
    Gaps,
    Rate,
    fails,
    outcome,
    rule,
)
from ftorch.jobs.advice.symptoms import Answer, Symptom, named
from ftorch.jobs.pays import OwnPrices, Question, quality_of, ready, train_cost
from ftorch.jobs.subject import named_manifest, newest_job, subject
from ftorch.manifest.evaluation import Eval
from ftorch.manifest.lifetime import Lifetime
from ftorch.manifest.schedule import Schedule
from ftorch.manifest.task import LabelledErrors, Measured, NotApplicable, Task, TaskKind
from ftorch.store import JobRow, Store

RULE = (
    "fine-tune when prompting fails on held-out rows at scale, retrieval or tools do not fix it, and the volume pays; "
    f"a rate decides by its {CONFIDENCE:.0%} interval, on {AT_SCALE} rows or more"
)
_STAYS_HOSTED = (
    "people read what it writes: the outer synthesis stays on a frontier hosted model; tune the steps inside it "
    "(router, classifier, extractor, rewriter, judge), or say task.allow_outer"
)
_STATE = "state what was measured in the manifest: task: {{{key}: {{correct: ..., rows: ..., source: ...}}}}"
_NO_KNOWLEDGE = "or task: {retrieval: {not_applicable: ...}} where nothing can be looked up"
_TARGET = "say what is good enough in the manifest: task: {target: {metric: exact_match, at_least: ...}}"
_LIFETIME = "add lifetime: {calls_per_period: ..., periods: ..., hosted: {...}, serving: {...}} to the manifest"
_TRAIN = "run `ftorch submit MANIFEST`, or assume what `ftorch plan` estimates: lifetime: {train_cost: {assumed: ...}}"


@dataclass(frozen=True, slots=True)
class Change:
    """One figure that alone makes the answer another one."""

    input: str
    words: str
    answer: Answer
    """What the answer is then."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer with everything that it rests on."""

    name: str
    job: str | None
    kind: TaskKind | None
    is_outer: bool | None
    answer: Answer
    reason: str
    ruled_out: Sequence[Answer]
    """What it is not in any case, where it is unknown."""
    next_step: str | None
    """The command or the lines that fill the gap."""
    symptoms: Sequence[Symptom]
    conditions: Sequence[Condition]
    would_change: Sequence[Change]
    lifetime: LifetimeReport | None
    warnings: Sequence[str]
    rule: str = RULE


@dataclass(frozen=True, slots=True)
class Subject:
    """What is decided about: blocks of the manifest or the plan, and the newest job."""

    name: str
    reference: str
    folder: Path
    task: Task | None
    eval: Eval | None
    lifetime: Lifetime | None
    schedule: Schedule | None
    job: JobRow | None


@dataclass(frozen=True, slots=True)
class _Measurements:
    """Rates with their target; None where nobody measured."""

    target: float | None
    prompted: Rate | None
    retrieval: Rate | None


@dataclass(frozen=True, slots=True)
class _Money:
    """The lifetime with the figures at which it flips."""

    report: LifetimeReport
    flips: Sequence[Threshold]


def decide(store: Store | None, reference: str, cwd: Path, *, start: date, own_prices: OwnPrices) -> Decision:
    """The decision for a manifest, or for the job that the reference names.

    Raises ManifestError for a manifest with faults or an unknown symptom, UsageError for a job that does not exist, and
    what the lifetime raises.
    """
    asked = subject_of(store, reference, cwd)
    measured = _measurements(store, asked)
    money = _money(store, asked, start, own_prices)
    evidence = _evidence(store, asked, measured, money)
    ruling = rule(evidence)
    return Decision(
        name=asked.name,
        job=asked.job.id if asked.job else None,
        kind=asked.task.kind if asked.task else None,
        is_outer=asked.task.is_outer if asked.task else None,
        answer=ruling.answer,
        reason=ruling.reason,
        ruled_out=ruling.ruled_out,
        next_step=ruling.next_step,
        symptoms=evidence.symptoms,
        conditions=evidence.conditions,
        would_change=list(changes(evidence, measured, money.flips if money else ())),
        lifetime=money.report if money else None,
        warnings=money.report.warnings if money else (),
    )


def subject_of(store: Store | None, reference: str, cwd: Path) -> Subject:
    """What the reference means."""
    if found := named_manifest(reference, cwd):
        job = newest_job(store, found.name) if store else None
        folder = (cwd / reference).parent
        return Subject(found.name, reference, folder, found.task, found.eval, found.lifetime, found.schedule, job)
    if store is None:
        raise UsageError(f"no job is called {reference!r}", hint="give a manifest, or run `ftorch jobs`")
    known = subject(store, reference, cwd)
    plan, folder = known.plan, (cwd / known.job.manifest_path).parent
    return Subject(plan.name, reference, folder, plan.task, plan.eval, plan.lifetime, plan.schedule, known.job)


def changes(evidence: Evidence, measured: _Measurements, flips: Sequence[Threshold]) -> Iterator[Change]:
    """Each figure at which the answer becomes another one, the others as they are."""
    now = rule(evidence).answer
    for found in (*_of_rates(evidence, measured), *_of_symptoms(evidence), *_of_volume(evidence, flips)):
        if found.answer is not now:
            yield found


def _measurements(store: Store | None, asked: Subject) -> _Measurements:
    task = asked.task
    metric, target = _target(asked)
    prompted = _stated(task.prompted) if task and task.prompted else _evaluated(store, asked.job, metric)
    retrieval = task.retrieval if task else None
    return _Measurements(target, prompted, _stated(retrieval) if isinstance(retrieval, Measured) else None)


def _target(asked: Subject) -> tuple[str, float | None]:
    if asked.task and asked.task.target:
        return asked.task.target.metric, asked.task.target.at_least
    gate = asked.eval.gate if asked.eval else None
    return (gate.primary, gate.at_least) if gate else ("exact_match", None)


def _stated(found: Measured) -> Rate:
    return Rate(found.correct, found.rows, found.source)


def _evaluated(store: Store | None, job: JobRow | None, metric: str) -> Rate | None:
    """The hosted model's figure of the newest evaluation; a mean of scores from 0 to 1 varies no more than a rate."""
    for row in store.evaluations_of(job.id) if store and job else ():
        figures: Sequence[Mapping[str, Any]] = json.loads(row.report)["comparison"]["figures"]
        for figure in figures:
            if (figure["model"], figure["metric"]) == ("hosted", metric):
                source = f"evaluation {row.id} of job {row.job_id}"
                return Rate(round(figure["value"] * figure["rows"]), figure["rows"], source)
    return None


def _money(store: Store | None, asked: Subject, start: date, own: OwnPrices) -> _Money | None:
    if asked.lifetime is None:
        return None
    readied = ready(Question(asked.lifetime, asked.schedule, asked.job, asked.folder), own, start)
    train = train_cost(asked.lifetime, store, asked.job)
    quality = quality_of(store, asked.job)
    report = lifetime(readied.block, train, quality, start=start, warnings=readied.warnings)
    return _Money(report, thresholds(case_of(readied.block, train, start=start)))


def _evidence(store: Store | None, asked: Subject, measured: _Measurements, money: _Money | None) -> Evidence:
    task, quality = asked.task, quality_of(store, asked.job)
    stays = _STAYS_HOSTED if task and task.is_outer and not task.allow_outer else None
    return Evidence(
        symptoms=named(task.symptoms, asked.reference) if task else (),
        prompting_fails=_prompting(asked, measured),
        retrieval_fails=_retrieval(task, measured),
        volume_pays=_volume(money.report if money else None),
        stays_hosted=stays,
        tuned_is_worse=quality.words if quality.state is QualityState.WORSE else None,
    )


def _prompting(asked: Subject, measured: _Measurements) -> Condition:
    ask = f"run `ftorch eval {asked.reference} --against URL --model NAME`" if asked.job and asked.job.adapter else ""
    measure = " or ".join(filter(None, (ask, _STATE.format(key="prompted"))))
    return fails(measured.prompted, measured.target, PROMPTING, "the prompted model", Gaps(_TARGET, measure))


def _retrieval(task: Task | None, measured: _Measurements) -> Condition:
    if task and isinstance(task.retrieval, NotApplicable):
        return Condition(RETRIEVAL, Finding.YES, f"not applicable: {task.retrieval.not_applicable}")
    if measured.retrieval is None and task and task.errors and (words := _lacks_knowledge(task.errors)):
        return Condition(RETRIEVAL, Finding.NO, words)
    gaps = Gaps(_TARGET, f"{_STATE.format(key='retrieval')}, {_NO_KNOWLEDGE}")
    return fails(measured.retrieval, measured.target, RETRIEVAL, "the model with retrieval or tools", gaps)


def _lacks_knowledge(found: LabelledErrors) -> str | None:
    """Most of the errors that a person looked at are missing facts, the lower bound of their share included."""
    interval = wilson(min(found.missing_knowledge, found.errors), found.errors, confidence=CONFIDENCE)
    if interval.low < KNOWLEDGE_SHARE:
        return None
    return f"{found.missing_knowledge} of {found.errors} errors are missing or old facts ({found.source})"


def _volume(report: LifetimeReport | None) -> Condition:
    if report is None:
        return Condition(VOLUME, Finding.UNKNOWN, "nobody says what the volume and the prices are", _LIFETIME)
    if report.pays_in_money is not None and report.chance is not None:
        words = report.money_words
        return Condition(VOLUME, Finding.YES if report.pays_in_money else Finding.NO, words)
    if report.loses_anyway:
        return Condition(VOLUME, Finding.NO, report.reason)
    return Condition(VOLUME, Finding.UNKNOWN, "what training costs is not known", _TRAIN)


def _of_rates(evidence: Evidence, measured: _Measurements) -> Iterator[Change]:
    asked = (
        (evidence.prompting_fails, measured.prompted, "prompting"),
        (evidence.retrieval_fails, measured.retrieval, "retrieval or tools"),
    )
    for current, rate, what in asked:
        if rate is None or measured.target is None or rate.rows < AT_SCALE:
            continue
        for finding, correct, way in _edges(rate, measured.target):
            if finding is not current.finding:
                then = rule(evidence.having(current.name, finding)).answer
                yield Change(
                    current.name, f"{what} right on {way} {correct} of {rate.rows} rows (now {rate.correct})", then
                )


def _edges(rate: Rate, target: float) -> Iterator[tuple[Finding, int, str]]:
    """The last count that fails and the first that is enough, on as many rows."""
    found = [outcome(replace(rate, correct=correct), target) for correct in range(rate.rows + 1)]
    if Finding.YES in found:
        yield Finding.YES, len(found) - 1 - found[::-1].index(Finding.YES), "at most"
    if Finding.NO in found:
        yield Finding.NO, found.index(Finding.NO), "at least"


def _of_symptoms(evidence: Evidence) -> Iterator[Change]:
    """An answer by symptom stands until somebody has measured that it fails."""
    asked = (
        (evidence.prompting_fails, Answer.PROMPT, "prompting"),
        (evidence.retrieval_fails, Answer.RETRIEVE, "retrieval or tools"),
    )
    for current, answer, what in asked:
        if current.finding is Finding.UNKNOWN and any(one.answer is answer for one in evidence.symptoms):
            then = rule(evidence.having(current.name, Finding.YES)).answer
            yield Change(current.name, f"{what} measured to fail on {AT_SCALE} rows or more", then)


def _of_volume(evidence: Evidence, flips: Sequence[Threshold]) -> Iterator[Change]:
    other = Finding.NO if evidence.volume_pays.finding is Finding.YES else Finding.YES
    then = rule(evidence.having(VOLUME, other)).answer
    for flip in flips:
        yield Change(flip.input, flip.words_when(pays=other is Finding.YES), then)
