"""Whether there is something to train, and money for it."""

from __future__ import annotations

import json

import fsspec
import pytest

from ftorch.jobs.admit import admit
from ftorch.jobs.versions import promote
from ftorch.schedule.start import look
from ftorch.schedule.verbs import trigger
from ftorch.store import schedule_sql
from ftorch.store.schedule_rows import ScheduleRow
from unit.schedule.bench import MANIFEST, Bench

LIFETIME = """\
lifetime: {calls_per_period: 200000, periods: 24, hosted: {per_call: PRICE USD, source: list}, hosted_shutdown: DAY,
           serving: {per_call: 0.0005 USD, source: quote}}
"""


def priced(bench: Bench, price: str, day: str = "2027-12-01") -> None:
    bench.manifest.write_text(MANIFEST + LIFETIME.replace("PRICE", price).replace("DAY", day))


def once(bench: Bench, state: str = "succeeded") -> None:
    """The first job of the schedule, and its end."""
    bench.pass_hour()
    bench.job_ends(state)
    occurrence = bench.occurrences()[0]
    # Its adapter is another test's.
    bench.context.store.write(
        lambda tx: tx.change("occurrences", occurrence, state="promoted", ended_at=bench.clock.now())
    )


def test_an_unchanged_dataset_does_not_spend(bench: Bench) -> None:
    bench.add()
    once(bench)

    found = [bench.pass_hour() for _ in range(3)]

    assert {(row.state, row.reason) for row in found} == {("skipped", "unchanged")}
    assert len(bench.jobs()) == 1


def test_files_whose_bytes_changed_and_whose_rows_did_not_do_not_spend(bench: Bench) -> None:
    bench.add()
    once(bench)
    data = bench.folder / "rows.jsonl"
    data.write_text(data.read_text().replace('": "', '":  "'))

    assert bench.pass_hour().reason == "unchanged"
    assert len(bench.jobs()) == 1


def test_a_changed_dataset_is_trained_once(bench: Bench) -> None:
    bench.add()
    once(bench)
    bench.write(*["yes"] * 80)

    changed = bench.pass_hour()
    bench.job_ends("succeeded")

    assert changed.detail.startswith("the dataset changed from")
    assert len(bench.jobs()) == 2


def test_a_dataset_at_a_url_is_trained_when_its_content_changed(bench: Bench) -> None:
    def upload(rows: int) -> None:
        lines = [json.dumps({"prompt": f"Is thing {n} fine?", "completion": "yes"}) for n in range(rows)]
        with fsspec.open(url, "w") as stream:
            stream.write("\n".join(lines) + "\n")

    url = f"memory://{bench.folder}/bucket/rows.jsonl"
    bench.manifest.write_text(MANIFEST.replace("path: rows.jsonl", f"path: '{url}'"))
    upload(60)
    bench.add()
    once(bench)

    upload(60)
    same = bench.pass_hour()
    upload(80)
    changed = bench.pass_hour()

    assert (same.reason, changed.state) == ("unchanged", "started")
    assert bench.context.plan(bench.jobs()[0]).dataset.source == url


def test_after_a_failed_job_the_same_data_is_tried_again(bench: Bench) -> None:
    bench.add()
    bench.pass_hour()
    bench.job_ends("failed")
    bench.look()

    assert bench.pass_hour().state == "started"
    assert len(bench.jobs()) == 2


def test_the_same_data_that_failed_twice_spends_no_more_until_a_person_says_so(bench: Bench) -> None:
    bench.add()
    for _ in range(2):
        bench.pass_hour()
        bench.job_ends("failed")
        bench.look()

    given_up = bench.pass_hour()

    assert (given_up.state, len(bench.jobs())) == ("skipped", 2)
    assert "schedule trigger" in (given_up.detail or "")
    bench.clock.advance(60)
    trigger(bench.context, "support")
    bench.look()
    assert len(bench.jobs()) == 3


def test_a_job_that_a_person_cancelled_is_not_started_again_by_the_schedule(bench: Bench) -> None:
    bench.add()
    bench.pass_hour()
    [job] = bench.jobs()
    bench.context.store.write(lambda tx: tx.update_job(job, desired="cancelled"))
    bench.job_ends("cancelled")
    bench.look()

    assert (bench.pass_hour().state, len(bench.jobs())) == ("skipped", 1)


def test_always_trains_the_same_rows_again(bench: Bench) -> None:
    bench.add(when="always")
    once(bench)

    assert bench.pass_hour().state == "started"
    assert len(bench.jobs()) == 2


def test_new_rows_start_a_job_when_there_are_enough_of_them(bench: Bench) -> None:
    bench.add(when=[{"new_rows": 10}])
    once(bench)

    bench.write(*["yes"] * 69)
    few = bench.pass_hour()
    bench.write(*["yes"] * 70)
    enough = bench.pass_hour()

    assert (few.reason, enough.state) == ("unchanged", "started")
    assert "9 rows are new since job" in few.detail
    assert "10 are asked for" in few.detail
    assert enough.detail.startswith("10 rows are new")


def test_a_new_rule_looks_at_data_that_the_old_one_left(bench: Bench) -> None:
    bench.add(when=[{"new_rows": 10}])
    once(bench)
    bench.write(*["yes"] * 65)
    few = bench.pass_hour()

    bench.add(when=[{"new_rows": 5}])

    assert (few.state, bench.pass_hour().state) == ("skipped", "started")


def test_data_whose_training_by_hand_failed_is_trained(bench: Bench) -> None:
    bench.add()
    once(bench)
    bench.write(*["yes"] * 80)
    [schedule] = bench.context.store.read().many(ScheduleRow, schedule_sql.SCHEDULES)
    admit(bench.context, look(bench.context, schedule).resolved, again=False)
    meanwhile = bench.pass_hour()

    bench.job_ends("failed")

    assert (meanwhile.state, bench.pass_hour().state) == ("skipped", "started")


def test_a_changed_price_is_not_forgotten_when_its_job_fails(bench: Bench) -> None:
    priced(bench, "0.005")
    bench.add(when=["hosted_changed"])
    once(bench)
    bench.write(*["yes"] * 80)
    priced(bench, "0.004")
    bench.pass_hour()
    bench.job_ends("failed")
    bench.look()

    again = bench.pass_hour()

    assert (again.state, again.detail[:24], len(bench.jobs())) == ("started", "the hosted model changed", 3)


def test_changed_answers_are_no_new_rows(bench: Bench) -> None:
    bench.add(when=[{"new_rows": 1}])
    once(bench)
    bench.write(*["no"] * 60)

    assert bench.pass_hour().reason == "unchanged"


@pytest.mark.parametrize(("price", "day"), [("0.004", "2027-12-01"), ("0.005", "2027-02-01")])
def test_a_changed_price_or_shutdown_of_the_hosted_model_is_told_and_does_not_train_the_same_plan(
    bench: Bench, price: str, day: str
) -> None:
    priced(bench, "0.005")
    bench.add(when=["hosted_changed"])
    once(bench)
    before = bench.pass_hour()

    priced(bench, price, day)
    found = bench.pass_hour()
    after = bench.pass_hour()

    assert (before.reason, found.reason, after.reason) == ("unchanged",) * 3
    assert found.detail.startswith("the hosted model changed from")
    assert "has this very plan" in found.detail
    [notice] = bench.notices()
    assert (notice.kind, len(bench.jobs())) == ("changed", 1)


def test_a_price_that_no_trigger_asks_for_keeps_nothing_from_being_trained(bench: Bench) -> None:
    lifetime = "lifetime: {calls_per_period: 9, periods: 2, hosted: {model: nobody/knows, input_tokens: 9, \
output_tokens: 9}, serving: {per_call: 0.0005 USD, source: quote}}\n"
    bench.manifest.write_text(MANIFEST + lifetime)
    bench.add()

    assert bench.pass_hour().state == "started"


def test_to_ask_about_fresh_rows_is_paid_from_the_schedules_budget(bench: Bench) -> None:
    bench.add(when=[{"evaluation_below": 0.8, "fresh_rows": 10}], budget={"limit": "1.00 USD"})
    bench.pass_hour()
    job = bench.jobs()[0]
    bench.job_ends("failed", spent_micro=1_500_000)
    bench.look()
    bench.trained("b", train=range(1000, 1060), held_out=range(20))
    promote(bench.context, "support/1")

    found = bench.pass_hour()

    assert (found.state, job.name) == ("over_budget", "support")
    assert "nothing is left to ask the adapter in service about fresh rows" in found.detail


def test_a_changed_price_trains_where_the_data_has_grown_too(bench: Bench) -> None:
    priced(bench, "0.005")
    bench.add(when=["hosted_changed"])
    once(bench)
    bench.write(*["yes"] * 80)
    grown = bench.pass_hour()

    priced(bench, "0.004")
    found = bench.pass_hour()

    assert (grown.reason, found.state) == ("unchanged", "started")


def test_the_months_limit_stops_the_next_occurrence_with_a_notice_and_not_the_one_in_flight(bench: Bench) -> None:
    bench.add(when="always", budget={"limit": "1.00 USD", "period": "month"})
    once(bench)
    bench.job_ends("succeeded", spent_micro=990_000)
    in_flight = bench.pass_hour()
    bench.context.store.write(lambda tx: tx.run("UPDATE ledger SET amount_micro = 1500000"))
    bench.look()
    goes_on = bench.jobs()[0].desired
    bench.job_ends("failed")

    stopped = bench.pass_hour()

    assert (in_flight.state, goes_on) == ("started", "run")
    assert (stopped.state, stopped.job_id, len(bench.jobs())) == ("over_budget", None, 2)
    [notice] = [one for one in bench.notices() if one.kind == "over_budget"]
    dollars = json.loads(notice.body)["dollars"]
    assert (dollars["limit"]["amount"], dollars["spent"]["amount"]) == ("1.00", "1.50")


def test_in_the_next_month_the_limit_begins_anew(bench: Bench) -> None:
    bench.add(when="always", budget={"limit": "1.00 USD", "period": "month"})
    once(bench)
    bench.job_ends("succeeded", spent_micro=1_500_000)
    stopped = bench.pass_hour()

    bench.clock.advance(30 * 86_400)
    bench.look()

    assert (stopped.state, bench.occurrences()[0].state) == ("over_budget", "started")


def test_to_remove_a_schedule_and_add_it_again_does_not_refill_its_budget(bench: Bench) -> None:
    from ftorch.schedule.verbs import remove

    bench.add(when="always", budget={"limit": "1.00 USD"})
    once(bench)
    bench.job_ends("succeeded", spent_micro=1_500_000)
    remove(bench.context, "support")
    bench.add(when="always", budget={"limit": "1.00 USD"})

    assert bench.pass_hour().state == "over_budget"


def test_a_labels_limit_stops_the_next_occurrence_too(bench: Bench) -> None:
    (bench.folder / "ftorch.toml").write_text(
        '[local]\nrate = "0.36 USD"\n[[budgets]]\nlimit = "1.00 USD"\nlabel = "team=a"\n'
    )
    bench.manifest.write_text(MANIFEST + "labels: {team: a}\n")
    bench.add(when="always")
    once(bench)
    bench.job_ends("succeeded", spent_micro=1_500_000)

    assert bench.pass_hour().state == "over_budget"
    [notice] = bench.notices()
    body = json.loads(notice.body)
    assert "monthly budget for team=a, 1.00 USD: 1.50 USD is spent" in body["text"]
    assert (body["dollars"]["limit"], body["dollars"]["spent"]["amount"]) == (None, "1.50")
