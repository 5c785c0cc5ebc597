"""The gate of a retrain, on answers that are known: nothing is trained and nothing is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ftorch.core.errors import ArtifactError, CredentialsError, FtorchError, JobFailedError, UsageError
from ftorch.jobs.adapter_views import adapter_views, promotions
from ftorch.jobs.serving import find_version, folder_of, in_service, label
from ftorch.jobs.versions import promote, roll_back
from ftorch.manifest.evaluation import Eval, Gate
from ftorch.manifest.plan import StartAdapter
from ftorch.schedule.gate import trainings
from ftorch.schedule.times import occurrence_id
from ftorch.store import JobRow, schedule_sql
from ftorch.store.schedule_rows import OccurrenceRow, ScheduleRow
from unit.schedule.bench import Bench

TRAIN = range(100, 160)
OLD = range(120)
GROWN = range(200)


def judged(bench: Bench, job: JobRow) -> OccurrenceRow:
    """The schedule's occurrence of this job, after its adapter was judged."""
    [schedule] = bench.context.store.read().many(ScheduleRow, schedule_sql.SCHEDULES)
    now = bench.clock.now()
    row = OccurrenceRow(
        id=occurrence_id(schedule.id, now),
        schedule_id=schedule.id,
        fire_at=now,
        kind="on_time",
        state="judging",
        job_id=job.id,
        noted_at=now,
        next_at=now,
    )
    bench.context.store.write(lambda tx: tx.insert(schedule_sql.ADD_OCCURRENCE, row))
    bench.look()
    bench.clock.advance(60)
    return bench.occurrences()[0]


def serving(bench: Bench) -> str | None:
    found = in_service(bench.context.store.read(), "support")
    return label(found) if found else None


@pytest.fixture
def old(bench: Bench) -> JobRow:
    """The adapter in service: right on 100 of its 120 held-out rows, and on 130 of the 200 there are by now."""
    bench.add(promote={"no_worse_by": 0.05})
    job = bench.trained("a", train=range(1000, 1060), held_out=OLD)
    assert judged(bench, job).state == "promoted"
    bench.answers(job, OLD, range(100))
    bench.answers(job, GROWN, range(130))
    return job


def retrained(bench: Bench, right: Sequence[int], **changes: object) -> JobRow:
    """A retrain on the grown dataset, right about these rows."""
    job = bench.trained("b", train=range(1000, 1100), held_out=GROWN, **changes)
    bench.answers(job, OLD, [n for n in right if n in OLD])
    bench.answers(job, GROWN, right)
    return job


def test_the_first_adapter_goes_into_service_where_no_gate_is_asked(bench: Bench, old: JobRow) -> None:
    assert serving(bench) == "support/1"
    assert bench.notices()[0].kind == "promoted"


def test_an_adapter_that_a_person_trained_is_compared_with_although_nobody_promoted_it(bench: Bench) -> None:
    bench.add(promote={"no_worse_by": 0.05})
    by_hand = bench.trained("a", train=range(1000, 1060), held_out=OLD)
    bench.answers(by_hand, OLD, range(100))
    bench.answers(by_hand, GROWN, range(130))

    found = judged(bench, retrained(bench, ()))

    latest = find_version(bench.context.store, "support@latest")
    assert (found.state, latest and latest.job_id) == ("refused", by_hand.id)


def test_an_adapter_that_waits_for_its_gate_is_not_the_latest(bench: Bench) -> None:
    bench.add()
    by_hand = bench.trained("a", train=range(1000, 1060), held_out=OLD)
    job = retrained(bench, range(180))
    [schedule] = bench.context.store.read().many(ScheduleRow, schedule_sql.SCHEDULES)
    now = bench.clock.now()
    row = OccurrenceRow(
        id="1",
        schedule_id=schedule.id,
        fire_at=now,
        kind="on_time",
        state="judging",
        job_id=job.id,
        noted_at=now,
        next_at=now,
    )
    bench.context.store.write(lambda tx: tx.insert(schedule_sql.ADD_OCCURRENCE, row))

    latest = find_version(bench.context.store, "support@latest")

    assert latest is not None
    assert latest.job_id == by_hand.id


def test_a_better_adapter_is_promoted(bench: Bench, old: JobRow) -> None:
    found = judged(bench, retrained(bench, range(180)))

    assert (found.state, serving(bench)) == ("promoted", "support/2")
    assert [(one.version, one.previous, one.how) for one in promotions(bench.context.store, "support")] == [
        ("support/1", None, "gate"),
        ("support/2", "support/1", "gate"),
    ]


def test_a_worse_adapter_is_kept_refused_and_told(bench: Bench, old: JobRow) -> None:
    job = retrained(bench, range(60))

    found = judged(bench, job)

    assert (found.state, found.reason, serving(bench)) == ("refused", "gate", "support/1")
    assert (bench.version(job).state, folder_of(bench.context.store, bench.version(job)).is_dir()) == ("refused", True)
    [notice] = [one for one in bench.notices() if one.kind == "refused"]
    body = json.loads(notice.body)
    assert body["about"] | {"installation": None} == {
        "installation": None,
        "job": "b",
        "schedule": "support",
        "occurrence": "2026-11-01T12:01:00Z",
        "version": "support/2",
        "compared_with": "support/1",
    }
    assert "spend" in body["dollars"]


def test_what_shines_on_new_rows_alone_and_forgot_the_old_ones_is_refused(bench: Bench, old: JobRow) -> None:
    poisoned = [*range(50), *range(120, 200)]

    found = judged(bench, retrained(bench, poisoned))

    # On all rows of today together it is as good: 130 of 200, as the one in service.
    assert (len(poisoned), found.state, found.reason) == (130, "refused", "gate")
    assert "120 rows" in found.detail


@pytest.mark.parametrize(
    ("error", "looks"),
    [(CredentialsError("no key"), 1), (JobFailedError("the trainer broke"), 41)],
    ids=["stays", "tried for as long as it is worth"],
)
def test_what_cannot_be_judged_is_not_the_latest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: FtorchError, looks: int
) -> None:
    def refuse(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr("ftorch.schedule.gate._judged", refuse)
    bench.add()
    by_hand = bench.trained("a", train=range(1000, 1060), held_out=OLD)
    job = retrained(bench, range(180))

    judged(bench, job)
    for _ in range(looks):
        bench.clock.advance(600)
        bench.look()

    latest = find_version(bench.context.store, "support@latest")
    assert (bench.version(job).state, latest and latest.job_id) == ("refused", by_hand.id)
    assert bench.version(job).reason == f"it could not be judged: {error.message}"


def test_what_a_person_has_put_into_service_before_it_was_judged_stays(bench: Bench, old: JobRow) -> None:
    job = retrained(bench, range(60))
    promote(bench.context, "support/2")

    found = judged(bench, job)

    assert (found.state, serving(bench), bench.version(job).state) == ("promoted", "support/2", "promoted")


def test_a_folder_that_is_called_like_a_version_is_not_taken_for_it(bench: Bench, old: JobRow) -> None:
    (bench.folder / "support" / "1").mkdir(parents=True)

    assert judged(bench, retrained(bench, range(180))).state == "promoted"


def test_too_few_rows_to_tell_refuse_too(bench: Bench) -> None:
    bench.add(promote={"no_worse_by": 0.05})
    few = range(20)
    first = bench.trained("a", train=TRAIN, held_out=few)
    judged(bench, first)
    second = bench.trained("b", train=TRAIN, held_out=few)
    bench.answers(first, few, few)
    bench.answers(second, few, few)

    found = judged(bench, second)

    assert (found.state, found.reason) == ("refused", "inconclusive")
    assert "about" in found.detail
    assert "rows would tell" in found.detail


def test_rows_that_one_of_them_was_trained_on_judge_nobody(bench: Bench) -> None:
    bench.add(promote={"no_worse_by": 0.05})
    first = bench.trained("a", train=range(100, 200), held_out=range(100))
    judged(bench, first)
    # Rows moved from training to held out: the old adapter knows half of what it would be asked.
    second = bench.trained("b", train=range(300, 400), held_out=range(200))
    for job in (first, second):
        bench.answers(job, range(100), range(90))

    assert judged(bench, second).state == "promoted"


def test_without_a_row_that_no_training_has_seen_nobody_can_tell(bench: Bench) -> None:
    bench.add()
    first = bench.trained("a", train=range(100), held_out=range(100, 200))
    judged(bench, first)
    second = bench.trained("b", train=range(100, 200), held_out=range(100))

    found = judged(bench, second)

    assert (found.state, found.reason, serving(bench)) == ("refused", "not_comparable", "support/1")


def test_what_an_adapter_was_started_from_counts_as_its_training(bench: Bench, old: JobRow) -> None:
    start = StartAdapter(path=str(old.adapter), sha256="0" * 64)

    job = retrained(bench, GROWN, from_adapter=start)

    assert [path.name for path in trainings(bench.context, job)] == ["b", "a"]


def test_where_the_rows_of_a_training_are_gone_nobody_can_tell(bench: Bench, old: JobRow) -> None:
    start = StartAdapter(path=str(old.adapter), sha256="0" * 64)
    job = retrained(bench, GROWN, from_adapter=start)
    (Path(old.dataset) / "train.jsonl").unlink()

    found = judged(bench, job)

    assert (found.state, found.reason, serving(bench)) == ("refused", "not_comparable", "support/1")
    assert "the rows that an adapter was trained on are not here" in found.detail


def test_the_manifests_own_gate_must_pass_as_well(bench: Bench, old: JobRow) -> None:
    asked = Eval(compare_to=(), gate=Gate(primary="exact_match", at_least=0.95))

    found = judged(bench, retrained(bench, range(180), eval=asked))

    assert (found.state, found.reason) == ("refused", "gate")
    assert "at least 0.95" in found.detail


def test_rollback_goes_back_one_after_the_other_and_not_forth(bench: Bench, old: JobRow) -> None:
    judged(bench, retrained(bench, range(180)))
    third = bench.trained("c", train=TRAIN, held_out=OLD)
    promote(bench.context, "support/3", note="by hand")

    found = [label(roll_back(bench.context, "support")) for _ in range(2)]

    assert (found, label(bench.version(third))) == (["support/2", "support/1"], "support/3")
    with pytest.raises(UsageError, match="only ever had support/1 in service: there is nothing to go back to"):
        roll_back(bench.context, "support")


def test_rollback_restores_the_same_bytes_and_refuses_others(bench: Bench, old: JobRow) -> None:
    judged(bench, retrained(bench, range(180)))
    weights = folder_of(bench.context.store, bench.version(old)) / "adapter_model.safetensors"
    kept = weights.read_bytes()

    weights.write_bytes(kept[:-1] + b"x")
    with pytest.raises(ArtifactError, match="not the file of the receipt"):
        roll_back(bench.context, "support")
    refused = serving(bench)
    weights.write_bytes(kept)
    roll_back(bench.context, "support")

    assert (refused, serving(bench), weights.read_bytes()) == ("support/2", "support/1", kept)


def test_latest_is_what_serves_and_a_number_is_what_it_was(bench: Bench, old: JobRow) -> None:
    judged(bench, retrained(bench, range(60)))
    store = bench.context.store

    found = {name: find_version(store, name) for name in ("support@latest", "support", "support/2", "b", "support/9")}

    assert {name: row.job_id if row else None for name, row in found.items()} == {
        "support@latest": "a",
        "support": "a",
        "support/2": "b",
        "b": "b",
        "support/9": None,
    }


def test_an_adapter_that_a_gate_refused_is_not_the_latest_even_where_nothing_serves(bench: Bench) -> None:
    bench.add()
    asked = Eval(compare_to=(), gate=Gate(primary="exact_match", at_least=0.95))
    job = bench.trained("a", train=TRAIN, held_out=OLD, eval=asked)
    bench.answers(job, OLD, range(60))

    assert judged(bench, job).state == "refused"
    assert find_version(bench.context.store, "support@latest") is None


def test_an_adapter_is_listed_with_its_lineage(bench: Bench, old: JobRow) -> None:
    judged(bench, retrained(bench, range(180)))

    newest, first = adapter_views(bench.context.store)

    assert (newest.version, newest.in_service, first.in_service) == ("support/2", True, False)
    assert newest.lineage is not None
    assert (newest.lineage.parent, newest.lineage.dataset, newest.lineage.manifest) == (
        "support/1",
        "b",
        bench.manifest,
    )
    assert newest.lineage.code


@pytest.mark.parametrize(
    ("right", "others", "becomes", "serves"),
    [
        # Better than the old one, and worse than what a person has put there meanwhile; and the other way round.
        (180, 200, "refused", "support/2"),
        (60, 20, "promoted", "support/3"),
    ],
)
def test_a_person_who_changes_what_serves_while_it_is_judged_has_the_word(
    bench: Bench, old: JobRow, monkeypatch: pytest.MonkeyPatch, right: int, others: int, becomes: str, serves: str
) -> None:
    from ftorch.schedule import gate

    other = bench.trained("x", train=range(1000, 1060), held_out=OLD)
    bench.answers(other, OLD, range(others))
    bench.answers(other, GROWN, range(others))
    job = retrained(bench, range(right))
    real = gate._judged

    def and_meanwhile(*arguments: object) -> object:
        monkeypatch.undo()
        found = real(*arguments)  # type: ignore[arg-type]  # passed on as they came
        promote(bench.context, "support/2")
        return found

    monkeypatch.setattr(gate, "_judged", and_meanwhile)
    found = judged(bench, job)

    assert (found.state, serving(bench)) == (becomes, serves)
