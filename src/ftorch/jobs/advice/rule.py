"""The rule: symptoms first, then three conditions. Pure; every answer is in the table of its test.

    fine_tune  prompting fails on held-out rows at scale, retrieval or tools do not fix it, and the volume pays
    prompt     prompting is enough
    retrieve   prompting is not, retrieval or tools are
    do_not     neither is, and the volume does not pay; or people read what it writes
    unknown    something that decides was not measured: never a guess

A rate fails where the upper bound of its 90 % interval (Wilson) lies below the target, and is enough where the lower
one does not; in between it is unknown. Fewer than 200 rows are not "at scale".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ftorch.evals.intervals import Interval, wilson
from ftorch.jobs.advice.symptoms import Answer, Symptom

PROMPTING, RETRIEVAL, VOLUME = "prompting_fails", "retrieval_fails", "volume_pays"
"""The names of the conditions."""
AT_SCALE = 200
"""Held-out rows that a rate must rest on."""
CONFIDENCE = 0.9
KNOWLEDGE_SHARE = 0.5
"""From this share of labelled errors on, missing knowledge is what is wrong."""


class Finding(StrEnum):
    """Whether a condition holds."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Rate:
    """How many held-out rows were right, and who says so."""

    correct: int
    rows: int
    source: str

    @property
    def interval(self) -> Interval:
        return wilson(self.correct, self.rows, confidence=CONFIDENCE)

    @property
    def words(self) -> str:
        found = self.interval
        share = self.correct / self.rows
        interval = f"90 %: {found.low:.3f} to {found.high:.3f}"
        return f"{self.correct} of {self.rows} rows ({share:.3f}, {interval}; {self.source})"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition with its evidence; `gap` is what to run or write where it is unknown."""

    name: str
    finding: Finding
    words: str
    gap: str | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer with the reason for it, and what can be ruled out already where it is unknown."""

    answer: Answer
    reason: str
    ruled_out: Sequence[Answer]
    next_step: str | None


@dataclass(frozen=True, slots=True)
class Gaps:
    """What to do about what is missing."""

    target: str
    measure: str


def fails(rate: Rate | None, target: float | None, name: str, what: str, gaps: Gaps) -> Condition:
    """Whether a way of doing it without a fine-tune fails on held-out rows at scale."""
    if target is None:
        return Condition(name, Finding.UNKNOWN, "nobody says what is good enough", gaps.target)
    if rate is None:
        return Condition(name, Finding.UNKNOWN, f"{what} was not measured", gaps.measure)
    words = f"{what}: {rate.words}, target {target:g}"
    if rate.rows < AT_SCALE:
        return Condition(name, Finding.UNKNOWN, f"{words}; fewer than {AT_SCALE} rows are not at scale", gaps.measure)
    finding = outcome(rate, target)
    return Condition(name, finding, words, gaps.measure if finding is Finding.UNKNOWN else None)


def outcome(rate: Rate, target: float) -> Finding:
    """YES: it fails. NO: it is enough. A point estimate decides nothing."""
    if rate.interval.high < target:
        return Finding.YES
    return Finding.NO if rate.interval.low >= target else Finding.UNKNOWN


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the rule looks at."""

    symptoms: Sequence[Symptom]
    prompting_fails: Condition
    retrieval_fails: Condition
    volume_pays: Condition
    stays_hosted: str | None = None
    """Why an outer task is not tuned; None for an inner one."""
    tuned_is_worse: str | None = None
    """What an evaluation of the tuned model found, where it is below the hosted one."""

    def having(self, name: str, finding: Finding) -> Evidence:
        """The same with one condition found otherwise."""
        prompting, retrieval, volume = (
            replace(one, finding=finding) if one.name == name else one for one in self.conditions
        )
        return replace(self, prompting_fails=prompting, retrieval_fails=retrieval, volume_pays=volume)

    @property
    def conditions(self) -> tuple[Condition, Condition, Condition]:
        return self.prompting_fails, self.retrieval_fails, self.volume_pays


def rule(evidence: Evidence) -> Ruling:
    """The first step that has an answer."""
    for step in _STEPS:
        if found := step(evidence):
            return found
    reason = "prompting fails at scale, retrieval or tools do not fix it, and the volume pays"
    return Ruling(Answer.FINE_TUNE, reason, (), None)


def _by_symptom(evidence: Evidence) -> Ruling | None:
    held = (symptom for symptom in evidence.symptoms if _holds(symptom, evidence))
    return next((Ruling(one.answer, f"{one.words}: {one.advice}", (), None) for one in held), None)


def _outer(evidence: Evidence) -> Ruling | None:
    return Ruling(Answer.DO_NOT, evidence.stays_hosted, (), None) if evidence.stays_hosted else None


def _prompting(evidence: Evidence) -> Ruling | None:
    if evidence.prompting_fails.finding is Finding.NO:
        return Ruling(Answer.PROMPT, f"prompting is enough; {evidence.prompting_fails.words}", (), None)
    return _missing(evidence.prompting_fails, evidence)


def _retrieval(evidence: Evidence) -> Ruling | None:
    if evidence.retrieval_fails.finding is Finding.NO:
        return Ruling(Answer.RETRIEVE, f"retrieval or tools are enough; {evidence.retrieval_fails.words}", (), None)
    return _missing(evidence.retrieval_fails, evidence)


def _tuned(evidence: Evidence) -> Ruling | None:
    worse = evidence.tuned_is_worse
    return Ruling(Answer.DO_NOT, f"the tuned model was measured and is worse: {worse}", (), None) if worse else None


def _volume(evidence: Evidence) -> Ruling | None:
    if evidence.volume_pays.finding is Finding.NO:
        return Ruling(Answer.DO_NOT, f"the volume does not pay: {evidence.volume_pays.words}", (), None)
    return _missing(evidence.volume_pays, evidence)


_STEPS: Sequence[Callable[[Evidence], Ruling | None]] = (
    _by_symptom,
    _outer,
    _prompting,
    _retrieval,
    _tuned,
    _volume,
)


def _missing(condition: Condition, evidence: Evidence) -> Ruling | None:
    """What is unknown decides nothing; what is known beside it rules answers out."""
    if condition.finding is not Finding.UNKNOWN:
        return None
    findings = [one.finding for one in evidence.conditions]
    ruled_out = [Answer.FINE_TUNE] if Finding.NO in findings else []
    ruled_out += [Answer.PROMPT] if findings[0] is Finding.YES else []
    ruled_out += [Answer.RETRIEVE] if findings[1] is Finding.YES else []
    return Ruling(Answer.UNKNOWN, condition.words, ruled_out, condition.gap)


def _holds(symptom: Symptom, evidence: Evidence) -> bool:
    """What a symptom says holds until a measurement says that it was tried and failed."""
    match symptom.answer:
        case Answer.PROMPT:
            return evidence.prompting_fails.finding is not Finding.YES
        case Answer.RETRIEVE:
            return evidence.retrieval_fails.finding is not Finding.YES
        case Answer.DO_NOT:
            return True
        case _:
            return False
