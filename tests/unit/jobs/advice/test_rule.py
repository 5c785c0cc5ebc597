"""The rule over every combination of the three conditions, missing evidence included."""

from __future__ import annotations

from itertools import product

import pytest

from ftorch.core.errors import ManifestError
from ftorch.jobs.advice.rule import (
    AT_SCALE,
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
from ftorch.jobs.advice.symptoms import Answer, named, symptoms

YES, NO, GAP = Finding.YES, Finding.NO, Finding.UNKNOWN
FINE_TUNE, PROMPT, RETRIEVE, DO_NOT, UNKNOWN = Answer

TABLE = {
    # prompting fails, retrieval fails, volume pays
    (YES, YES, YES): FINE_TUNE,
    (YES, YES, NO): DO_NOT,
    (YES, NO, YES): RETRIEVE,
    (YES, NO, NO): RETRIEVE,
    (NO, YES, YES): PROMPT,
    (NO, YES, NO): PROMPT,
    (NO, NO, YES): PROMPT,
    (NO, NO, NO): PROMPT,
    # and with evidence missing
    (GAP, YES, YES): UNKNOWN,
    (GAP, YES, NO): UNKNOWN,
    (GAP, NO, YES): UNKNOWN,
    (GAP, NO, NO): UNKNOWN,
    (GAP, GAP, YES): UNKNOWN,
    (GAP, GAP, NO): UNKNOWN,
    (GAP, YES, GAP): UNKNOWN,
    (GAP, NO, GAP): UNKNOWN,
    (GAP, GAP, GAP): UNKNOWN,
    (YES, GAP, YES): UNKNOWN,
    (YES, GAP, NO): UNKNOWN,
    (YES, GAP, GAP): UNKNOWN,
    (YES, YES, GAP): UNKNOWN,
    (YES, NO, GAP): RETRIEVE,
    (NO, YES, GAP): PROMPT,
    (NO, NO, GAP): PROMPT,
    (NO, GAP, YES): PROMPT,
    (NO, GAP, NO): PROMPT,
    (NO, GAP, GAP): PROMPT,
}


def condition(name: str, finding: Finding) -> Condition:
    return Condition(name, finding, f"words of {name}", f"measure {name}" if finding is GAP else None)


def evidence(*findings: Finding, symptom: str = "", **further: str) -> Evidence:
    prompting, retrieval, volume = map(condition, (PROMPTING, RETRIEVAL, VOLUME), findings)
    return Evidence(named([symptom] if symptom else [], "job.yaml"), prompting, retrieval, volume, **further)


def test_the_table_has_every_combination() -> None:
    assert set(TABLE) == set(product(Finding, repeat=3))


@pytest.mark.parametrize(("findings", "answer"), TABLE.items(), ids=str)
def test_every_combination_has_its_answer(findings: tuple[Finding, ...], answer: Answer) -> None:
    assert rule(evidence(*findings)).answer is answer


@pytest.mark.parametrize(("findings", "answer"), [(f, a) for f, a in TABLE.items() if a is UNKNOWN], ids=str)
def test_what_is_unknown_says_what_to_do_and_what_it_is_not(findings: tuple[Finding, ...], answer: Answer) -> None:
    found = rule(evidence(*findings))

    names = (PROMPTING, RETRIEVAL, VOLUME)
    first = next(name for name, finding in zip(names, findings, strict=True) if finding is GAP)
    assert found.next_step == f"measure {first}"
    assert (FINE_TUNE in found.ruled_out) == (NO in findings)
    assert (PROMPT in found.ruled_out) == (findings[0] is YES)


@pytest.mark.parametrize("findings", list(TABLE), ids=str)
def test_ruled_out_answers_never_come_once_the_gaps_are_filled(findings: tuple[Finding, ...]) -> None:
    ruled_out = rule(evidence(*findings)).ruled_out

    choices = [(YES, NO) if finding is GAP else (finding,) for finding in findings]
    assert not {rule(evidence(*filled)).answer for filled in product(*choices)} & set(ruled_out)


@pytest.mark.parametrize("findings", list(TABLE), ids=str)
def test_the_outer_synthesis_stays_hosted_whatever_is_measured(findings: tuple[Finding, ...]) -> None:
    found = rule(evidence(*findings, stays_hosted="people read it"))

    assert (found.answer, found.reason) == (DO_NOT, "people read it")


def test_a_tuned_model_that_was_measured_worse_is_not_tuned_again() -> None:
    assert rule(evidence(YES, YES, YES, tuned_is_worse="-0.2")).answer is DO_NOT
    assert rule(evidence(NO, YES, YES, tuned_is_worse="-0.2")).answer is PROMPT


def test_the_rule_of_thumb_comes_first_in_the_table() -> None:
    assert [(one.name, one.answer) for one in symptoms()[:4]] == [
        ("vague_answers", PROMPT),
        ("missing_knowledge", RETRIEVE),
        ("wrong_behaviour", FINE_TUNE),
        ("no_such_model", DO_NOT),
    ]
    assert "almost never" in symptoms()[3].advice


@pytest.mark.parametrize("name", [one.name for one in symptoms()])
def test_a_symptom_answers_where_nothing_was_measured(name: str) -> None:
    [symptom] = named([name], "job.yaml")

    found = rule(evidence(GAP, GAP, GAP, symptom=name)).answer

    assert found is (UNKNOWN if symptom.answer is FINE_TUNE else symptom.answer)


@pytest.mark.parametrize(
    ("symptom", "findings", "answer"),
    [
        ("vague_answers", (YES, YES, YES), FINE_TUNE),
        ("vague_answers", (YES, NO, YES), RETRIEVE),
        ("missing_knowledge", (YES, YES, YES), FINE_TUNE),
        ("missing_knowledge", (YES, NO, YES), RETRIEVE),
        ("missing_knowledge", (NO, GAP, YES), RETRIEVE),
        ("wrong_behaviour", (YES, YES, YES), FINE_TUNE),
        ("wrong_behaviour", (NO, YES, YES), PROMPT),
        ("labels_disagree", (YES, YES, YES), DO_NOT),
        ("no_such_model", (YES, YES, YES), DO_NOT),
    ],
)
def test_a_symptom_stands_until_a_measurement_says_that_it_was_tried(
    symptom: str, findings: tuple[Finding, ...], answer: Answer
) -> None:
    assert rule(evidence(*findings, symptom=symptom)).answer is answer


def test_a_symptom_that_is_none_is_a_fault_with_a_suggestion() -> None:
    with pytest.raises(ManifestError, match="did you mean 'missing_knowledge'"):
        named(["mising_knowledge"], "job.yaml")


GAPS = Gaps("say a target", "measure it")


@pytest.mark.parametrize(
    ("rate", "target", "finding", "gap"),
    [
        (Rate(300, 500, "x"), 0.9, YES, None),
        (Rate(490, 500, "x"), 0.9, NO, None),
        (Rate(450, 500, "x"), 0.9, GAP, "measure it"),
        (Rate(100, AT_SCALE - 1, "x"), 0.9, GAP, "measure it"),
        (Rate(100, AT_SCALE, "x"), 0.9, YES, None),
        (None, 0.9, GAP, "measure it"),
        (Rate(300, 500, "x"), None, GAP, "say a target"),
    ],
)
def test_a_rate_decides_by_its_interval_and_at_scale(
    rate: Rate | None, target: float | None, finding: Finding, gap: str | None
) -> None:
    found = fails(rate, target, PROMPTING, "it", GAPS)

    assert (found.finding, found.gap) == (finding, gap)


def test_more_right_rows_never_make_it_fail() -> None:
    found = [outcome(Rate(correct, 300, "x"), 0.8) for correct in range(301)]

    assert found == sorted(found, key=[YES, GAP, NO].index)
    assert set(found) == set(Finding)
