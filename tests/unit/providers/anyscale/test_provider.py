"""What the suites do not ask: requests that are saved, ends that Anyscale alone knows of, buckets that refuse."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from contract.anyscale_bench import AnyscaleBench
from contract.provider_contract import log_lines
from ftorch.core.clock import ManualClock
from ftorch.core.errors import (
    ArtifactError,
    BillNotEnabledError,
    CredentialsError,
    ProviderUnavailableError,
    RunRejectedError,
)
from ftorch.costs.items import Scope, SpendSource, Window
from ftorch.emulators.anyscale import AnyscaleEmulator
from ftorch.emulators.anyscale.accounts import ACCOUNTS, COLLEAGUE_TOKEN
from ftorch.emulators.anyscale.emulator import CREATE, GET, LIST, USAGE
from ftorch.emulators.server import Fault
from ftorch.manifest.schema import Resources, RetryEvent
from ftorch.providers.base import Placement, RunState

_CLOUD = "GET /ext/v0/clouds/{id}"
_UPLOAD = "PUT /storage/{id}"
_RESOLVING = (
    "GET /ext/v0/clouds/default",
    "GET /ext/v0/projects/default_project",
    "GET /ext/v0/cluster_environment_builds/default",
    "POST /api/v2/compute_templates/search",
    "POST /api/v2/compute_templates/",
)
_HOUR_S, _DAY_S = 3600, 24 * 3600


def options(bench: AnyscaleBench, **changes: object) -> None:
    """Other options of the provider in the bench's plan."""
    known = bench.plan.options["anyscale"]
    bench.plan = bench.plan.model_copy(update={"options": {"anyscale": {**known, **changes}}})


# requests


def test_names_are_resolved_once_and_a_submit_is_one_request(bench: AnyscaleBench, emulator: AnyscaleEmulator) -> None:
    order = bench.order()
    bench.submit(order)
    before = emulator.requests.total()

    bench.submit(replace(order, key=bench.new_key()))

    assert emulator.requests.total() - before == emulator.requests[CREATE] - 1 == 1
    assert {route: emulator.requests[route] for route in _RESOLVING} == dict.fromkeys(_RESOLVING, 1)


def test_names_are_resolved_anew_after_a_while(bench: AnyscaleBench, emulator: AnyscaleEmulator) -> None:
    bench.staged()
    bench.advance(11 * 60)
    bench.staged()

    assert emulator.requests["GET /ext/v0/clouds/default"] == 2


def test_the_machines_of_a_plan_are_described_once_for_all_installations(
    bench: AnyscaleBench, emulator: AnyscaleEmulator
) -> None:
    bench.submit()
    other = bench.provider_at(emulator.url, bench.env["ANYSCALE_CLI_TOKEN"])

    other.submit(bench.order())

    assert emulator.requests["POST /api/v2/compute_templates/"] == 1


def test_runs_that_are_open_are_seen_with_one_list(bench: AnyscaleBench, emulator: AnyscaleEmulator) -> None:
    order = bench.order()
    refs = [bench.submit(replace(order, key=bench.new_key())) for _ in range(5)]
    before = emulator.requests.total()

    bench.provider.observe(refs)

    assert emulator.requests.total() - before == 1


def test_a_list_leaves_out_what_has_ended(bench: AnyscaleBench, emulator: AnyscaleEmulator) -> None:
    ref = bench.finished()
    bench.provider.observe([ref])

    [last] = [one for one in emulator.asked if one.route == LIST][-1:]
    assert "SUCCESS" not in last.query["state_filter"]
    assert last.query["tag_filter"] == ("ftorch_installation:bench1",)


def test_a_package_that_is_there_is_not_sent_by_another_process(
    bench: AnyscaleBench, emulator: AnyscaleEmulator
) -> None:
    bench.staged()
    bench.provider_at(emulator.url, bench.env["ANYSCALE_CLI_TOKEN"]).stage(bench.plan, bench.bundle)

    assert emulator.requests[_UPLOAD] == 1


def test_an_upload_that_was_cut_is_done_again(bench: AnyscaleBench, emulator: AnyscaleEmulator) -> None:
    emulator.script(_UPLOAD, Fault.DROP_BEFORE)
    with pytest.raises(ProviderUnavailableError, match="anyscale's storage did not answer stage"):
        bench.provider.stage(bench.plan, bench.bundle)

    assert bench.provider.stage(bench.plan, bench.bundle).ready


def test_a_job_that_somebody_has_archived_is_found(bench: AnyscaleBench) -> None:
    ref = bench.finished()
    bench.job(ref).is_archived = True

    assert bench.provider.find([ref.key]) == {ref.key: [ref]}


# names


@pytest.mark.parametrize(
    ("name", "value"), [("cloud", "nowhere"), ("project", "nothing"), ("compute_config", "machines:7")]
)
def test_a_name_that_anyscale_has_not_is_refused_before_a_job_is_made(
    bench: AnyscaleBench, emulator: AnyscaleEmulator, name: str, value: str
) -> None:
    bench.plan = bench.plan.model_copy(update={"resources": Resources(gpu=("T4",))})
    options(bench, **{name: value})

    with pytest.raises(RunRejectedError, match=value) as caught:
        bench.submit()

    assert f"provider.anyscale.{name}" in (caught.value.hint or "")
    assert emulator.requests[CREATE] == 0


def test_a_compute_config_of_the_user_is_found_by_name_and_version(
    bench: AnyscaleBench, emulator: AnyscaleEmulator
) -> None:
    bench.submit()
    [ours] = [one for one in emulator.service.templates.values() if one.name.startswith("ftorch-")]
    bench.plan = bench.plan.model_copy(update={"resources": Resources(gpu=("T4",))})
    options(bench, compute_config=f"{ours.name}:1")

    ref = bench.submit()

    assert bench.job(ref).order.config.compute_config_id == ours.id


def test_two_workers_run_on_two_machines_beside_a_head(bench: AnyscaleBench) -> None:
    bench.plan = bench.plan.model_copy(update={"resources": Resources(gpu=("L4",), workers=2)})

    order = bench.order()
    kept = Placement(order.placement.name, order.placement.rate, order.placement.detail)  # as the database has it

    ref = bench.submit(replace(order, placement=kept))

    job = bench.job(ref)
    env = job.order.config.runtime_env
    assert job.cluster.machines == ("", "L4", "L4")
    assert env is not None
    assert env.env_vars is not None
    assert (env.env_vars["FTORCH_WORKERS"], env.env_vars["FTORCH_USE_GPU"]) == ("2", "1")
    assert bench.finish(ref).rate == 2 * Decimal("1.0622") + Decimal("0.1080")


# ends


@pytest.mark.parametrize("is_told", [True, False])
def test_a_job_that_anyscale_ends_in_time_has_timed_out(
    bench: AnyscaleBench, emulator: AnyscaleEmulator, is_told: bool
) -> None:
    """The trainer hangs: it has told that it works, or nothing at all."""
    ref = bench.running(bench.order(max_duration_s=100_000))
    job = bench.job(ref)
    emulator.service._work.lose(job.attempt_id)
    if not is_told:
        (bench.bucket.folder / "runs" / ref.key / "status.json").unlink()
    bench.advance(100_000 + 700)

    seen = bench.until(RunState.TIMED_OUT, ref)

    assert "timed out" in seen.detail
    assert seen.retry_event is None


def test_a_job_that_ended_well_has_succeeded_whatever_an_old_copy_of_its_status_says(bench: AnyscaleBench) -> None:
    ref = bench.running()
    bench.wait()
    bench.until(RunState.RUNNING, ref)
    status = bench.bucket.folder / "runs" / ref.key / "status.json"
    old = status.read_text()
    bench.finish(ref)
    status.write_text(old)

    assert bench.provider.observe([ref])[ref].state is RunState.SUCCEEDED


def test_a_cluster_that_breaks_before_the_job_may_be_tried_again(
    bench: AnyscaleBench, emulator: AnyscaleEmulator
) -> None:
    ref = bench.submit()
    emulator.service.break_cluster(bench.job(ref), "the image cannot be pulled")

    seen = bench.until(RunState.FAILED, ref)

    assert (seen.detail, seen.retry_event) == ("the image cannot be pulled", RetryEvent.PROVIDER_ERROR)
    assert bench.provider.charges(ref, [seen]) == ()


def test_a_result_counts_more_than_a_cancel_that_came_too_late(
    bench: AnyscaleBench, emulator: AnyscaleEmulator
) -> None:
    ref = bench.finished()
    bench.job(ref).state = "TERMINATED"

    assert bench.provider.observe([ref])[ref].state is RunState.SUCCEEDED


def test_release_ends_a_job_that_lives_and_waits_for_the_end(bench: AnyscaleBench) -> None:
    ref = bench.running()

    assert bench.provider.release(ref) is False
    assert not bench.job(ref).is_over
    bench.wait()

    assert bench.provider.release(ref) is True
    assert bench.job(ref).state == "TERMINATED"


def test_a_job_that_ends_while_it_is_cancelled_is_no_error(bench: AnyscaleBench, emulator: AnyscaleEmulator) -> None:
    ref = bench.running()
    emulator.watch = lambda _moment, _number, request: (
        setattr(bench.job(ref), "state", "SUCCESS") if request.route.endswith("/terminate") else None
    )

    bench.provider.cancel(ref)

    assert bench.provider.release(ref) is True


# the bucket


def test_a_bucket_that_may_not_be_read_is_named_before_anything_is_sent(
    bench: AnyscaleBench, emulator: AnyscaleEmulator
) -> None:
    bench.bucket.is_denied = True

    with pytest.raises(CredentialsError, match="bucket://tiny/runs may not be read from here"):
        bench.provider.stage(bench.plan, bench.bundle)

    assert emulator.requests.total() == 0


def test_a_bucket_that_is_not_there_is_refused_before_anything_is_sent(
    bench: AnyscaleBench, emulator: AnyscaleEmulator
) -> None:
    bench.bucket.is_missing = True

    with pytest.raises(RunRejectedError, match="bucket://tiny is not there"):
        bench.provider.stage(bench.plan, bench.bundle)

    assert emulator.requests.total() == 0


@pytest.mark.parametrize(("uri", "words"), [("nowhere://b/x", "no place that can be opened"), ("s3 ://b", "a space")])
def test_a_place_that_cannot_be_opened_is_refused(bench: AnyscaleBench, uri: str, words: str) -> None:
    options(bench, output_uri=uri)

    with pytest.raises(RunRejectedError, match=words):
        bench.provider.stage(bench.plan, bench.bundle)


def test_the_step_of_a_run_is_not_missed_when_its_bucket_does_not_answer(bench: AnyscaleBench) -> None:
    ref = bench.running()
    bench.bucket.is_down = True

    seen = bench.provider.observe([ref])[ref]

    assert (seen.state, seen.progress) == (RunState.RUNNING, None)


def test_of_an_end_whose_bucket_does_not_answer_nothing_is_learned(bench: AnyscaleBench) -> None:
    ref = bench.finished()
    bench.bucket.is_down = True

    assert bench.provider.observe([ref]) == {}


def test_of_an_end_whose_bucket_refuses_us_anyscales_own_word_is_taken(bench: AnyscaleBench) -> None:
    ref = bench.submit()
    bench.kill(ref)
    bench.bucket.is_denied = True

    seen = bench.provider.observe([ref])[ref]

    assert (seen.state, seen.detail) == (RunState.FAILED, "The head node was terminated unexpectedly.")


def test_a_job_whose_description_was_changed_is_fetched_from_where_we_know(
    bench: AnyscaleBench, tmp_path: Path
) -> None:
    ref = bench.finished()
    job = bench.job(ref)
    job.order = job.order.model_copy(update={"description": "the nightly run"})

    assert bench.provider.fetch(ref, tmp_path / "a").files
    with pytest.raises(ArtifactError, match="its description at anyscale was changed"):
        bench.provider.fetch(replace(ref, place=None), tmp_path / "b")


# logs


def test_a_long_log_is_read_piece_by_piece_and_each_line_once(bench: AnyscaleBench, emulator: AnyscaleEmulator) -> None:
    ref = bench.running()
    run = bench.job(ref).run
    assert run is not None
    run.lines += [f"line {number}\n" for number in range(130)]
    first = bench.provider.logs(ref, cursor=None)
    run.lines += [f"line {number}\n" for number in range(130, 200)]
    asked = emulator.requests["GET /storage/logs/{id}"]

    second = bench.provider.logs(ref, cursor=first.cursor)

    told = [line for line in (*first.lines, *second.lines) if line.startswith("line ")]
    assert told == [f"line {number}" for number in range(200)]
    assert emulator.requests["GET /storage/logs/{id}"] - asked == 3
    assert not second.is_last


def test_half_a_line_waits_for_its_end(bench: AnyscaleBench) -> None:
    ref = bench.running()
    run = bench.job(ref).run
    assert run is not None
    run.lines.append("half")
    page = bench.provider.logs(ref, cursor=None)
    assert "half" not in page.lines
    run.lines[-1] = "half and half\n"

    assert "half and half" in bench.provider.logs(ref, cursor=page.cursor).lines


def test_a_job_that_ended_before_it_began_has_an_empty_log(bench: AnyscaleBench) -> None:
    ref = bench.submit()
    bench.provider.cancel(ref)
    bench.wait()

    assert log_lines(bench.provider, ref) == []


# money


def test_a_run_is_charged_by_its_time_and_then_by_the_rows_of_its_job(
    bench: AnyscaleBench, emulator: AnyscaleEmulator
) -> None:
    ref = bench.finished()
    history = [bench.provider.observe([ref])[ref]]
    [measured] = bench.provider.charges(ref, history)
    bench.advance(2 * _HOUR_S)

    [recorded] = bench.provider.charges(ref, history)

    assert (measured.source, recorded.source) == (SpendSource.MEASURED_TIME, SpendSource.RUN_RECORD)
    assert recorded.amount.amount == emulator.service.truth(bench.job(ref))


def test_a_run_on_anyscales_own_machines_costs_what_its_rows_say(bench: AnyscaleBench, clock: ManualClock) -> None:
    options(bench, cloud="hosted")
    ref = bench.finished()
    clock.advance(4 * _DAY_S)

    [item] = bench.provider.charges(ref, ())

    assert (item.source, item.scope) == (SpendSource.RUN_RECORD, Scope.RUN)
    assert "platform_fee" not in item.description


def test_the_time_for_which_a_run_waits_for_its_machines_costs_nothing(bench: AnyscaleBench) -> None:
    bench.service.queue_delay_s = 29 * 60
    ref = bench.submit()
    waiting = bench.provider.observe([ref])[ref]
    bench.advance(29 * 60)
    seen = bench.until(RunState.RUNNING, ref)
    bench.advance(10 * 60)
    ended = bench.until(RunState.SUCCEEDED, ref)
    run = bench.job(ref).run

    [item] = bench.provider.charges(ref, [waiting, seen, ended])

    assert run is not None
    assert waiting.billable_from is None
    assert seen.billable_from == item.period.start == run.created_at


def test_a_run_that_nobody_saw_running_is_charged_from_what_it_has_left(bench: AnyscaleBench) -> None:
    bench.service.queue_delay_s = 29 * 60
    ref = bench.submit()
    bench.advance(29 * 60)
    bench.wait()
    bench.service.look()
    bench.advance(60 * 60)
    bench.service.look()

    seen = bench.provider.observe([ref])[ref]

    run = bench.job(ref).run
    assert run is not None
    assert (seen.state, seen.billable_from) == (RunState.SUCCEEDED, run.created_at)


def test_a_run_that_nobody_saw_and_that_left_nothing_costs_from_where_lists_say_it_began(bench: AnyscaleBench) -> None:
    bench.service.queue_delay_s = 29 * 60
    ref = bench.submit()
    bench.advance(30 * 60)
    bench.service.look()
    bench.service.lose(bench.job(ref))
    bench.bucket.is_denied = True

    seen = bench.provider.observe([ref])[ref]

    run = bench.job(ref).run
    assert run is not None
    assert (seen.state, seen.billable_from) == (RunState.FAILED, run.created_at)


def test_a_run_whose_beginning_nobody_tells_costs_from_the_first_look_that_does_not_say_it_waits(
    bench: AnyscaleBench,
) -> None:
    bench.service.queue_delay_s = 29 * 60
    ref = bench.submit()
    bench.advance(29 * 60)
    bench.job(ref).tells_run = False
    bench.bucket.is_down = True

    seen = bench.until(RunState.RUNNING, ref)

    assert seen.billable_from == seen.observed_at


def test_in_a_cloud_of_ones_own_the_fee_comes_on_top_of_the_machines(bench: AnyscaleBench, clock: ManualClock) -> None:
    options(bench, cloud="tiny-aws")
    ref = bench.finished()
    [before] = bench.provider.charges(ref, ())
    clock.advance(4 * _DAY_S)

    machines, fee = bench.provider.charges(ref, ())

    assert machines == before
    assert (machines.source, machines.scope) == (SpendSource.MEASURED_TIME, Scope.RUN)
    assert (fee.source, fee.scope) == (SpendSource.RUN_RECORD, Scope.PLATFORM_FEE)
    assert fee.amount.amount == bench.service.truth(bench.job(ref))
    assert "scope: platform_fee" in fee.description


def test_a_bill_of_which_only_a_part_is_there_is_not_taken_for_the_whole(
    bench: AnyscaleBench, clock: ManualClock
) -> None:
    clock.advance(12 * _HOUR_S - 40)  # over midnight: two rows
    ref = bench.finished()
    _, second = bench.service.usage(bench.job(ref))
    bench.service.posting.late[second.cluster_id, second.day] = 2 * _DAY_S
    bench.advance(2 * _HOUR_S)

    [item] = bench.provider.charges(ref, ())

    assert item.source is SpendSource.MEASURED_TIME


def test_a_record_without_the_time_of_its_end_is_charged_to_the_end_that_was_seen(
    bench: AnyscaleBench, clock: ManualClock
) -> None:
    ref = bench.finished()
    bench.service.may_read_bill = False
    [told] = bench.provider.charges(ref, ())
    bench.job(ref).tells_changes = False
    clock.advance(2 * _HOUR_S)
    seen = bench.provider.observe([ref])[ref]
    clock.advance(4 * _DAY_S)

    [item] = bench.provider.charges(ref, [seen])

    assert seen.billable_to == item.period.end == told.period.end


def test_a_job_that_left_nothing_behind_is_charged_to_the_look_that_saw_its_end(
    bench: AnyscaleBench, clock: ManualClock
) -> None:
    ref = bench.running()
    bench.service.may_read_bill = False
    bench.job(ref).tells_changes = False
    bench.kill(ref)
    (bench.bucket.folder / "runs" / ref.key / "status.json").unlink()
    seen = bench.provider.observe([ref])[ref]
    clock.advance(4 * _DAY_S)

    [item] = bench.provider.charges(ref, [seen])

    assert item.period.end == seen.billable_to == seen.observed_at


def test_a_job_that_was_deleted_is_charged_as_the_usage_says(bench: AnyscaleBench, clock: ManualClock) -> None:
    ref = bench.finished()
    seen = bench.provider.observe([ref])[ref]
    job = bench.job(ref)
    bench.service.forget(job)
    [measured] = bench.provider.charges(ref, [seen])
    clock.advance(4 * _DAY_S)

    [recorded] = bench.provider.charges(ref, [seen])

    assert (measured.source, recorded.source) == (SpendSource.MEASURED_TIME, SpendSource.RUN_RECORD)
    assert recorded.amount.amount == bench.service.truth(job)


def test_a_job_that_was_deleted_from_a_cloud_of_ones_own_keeps_its_fee(
    bench: AnyscaleBench, clock: ManualClock
) -> None:
    options(bench, cloud="tiny-aws")
    ref = bench.finished()
    seen = bench.provider.observe([ref])[ref]
    [machines] = bench.provider.charges(ref, [seen])
    job = bench.job(ref)
    bench.service.forget(job)
    clock.advance(4 * _DAY_S)

    still, fee = bench.provider.charges(ref, [seen])

    assert still == machines
    assert (fee.scope, fee.amount.amount) == (Scope.PLATFORM_FEE, bench.service.truth(job))


def test_a_job_that_was_deleted_is_charged_by_its_time_where_the_bill_may_not_be_read(
    bench: AnyscaleBench, clock: ManualClock
) -> None:
    ref = bench.finished()
    seen = bench.provider.observe([ref])[ref]
    told = bench.provider.charges(ref, [seen])
    bench.service.forget(bench.job(ref))
    bench.service.may_read_bill = False
    clock.advance(4 * _DAY_S)

    assert bench.provider.charges(ref, [seen]) == told


def test_who_may_not_read_the_bill_is_charged_by_time(bench: AnyscaleBench, clock: ManualClock) -> None:
    ref = bench.finished()
    bench.service.may_read_bill = False
    bench.advance(4 * _DAY_S)

    [item] = bench.provider.charges(ref, ())

    assert item.source is SpendSource.MEASURED_TIME
    with pytest.raises(BillNotEnabledError, match="does not let this token read"):
        list(bench.bills.line_items(Window(clock.now().replace(day=1), clock.now())))


def test_a_token_that_is_no_good_is_not_taken_for_one_that_may_not_read_the_bill(
    bench: AnyscaleBench, clock: ManualClock
) -> None:
    expired = bench.with_refused_key()

    with pytest.raises(CredentialsError):
        list(expired.line_items(Window(clock.now().replace(day=1), clock.now())))


def test_a_bill_of_many_rows_is_read_page_by_page(
    bench: AnyscaleBench, emulator: AnyscaleEmulator, clock: ManualClock
) -> None:
    for _ in range(1005):
        emulator.service.use(ACCOUNTS[COLLEAGUE_TOKEN], clock.now().date(), Decimal("0.01"), job_name="nightly")
    bench.advance(2 * _HOUR_S)

    items = list(bench.bills.line_items(Window(clock.now().replace(hour=0), clock.now())))

    assert len(items) == 1005
    assert emulator.requests[USAGE] == 2


def test_of_the_rows_of_others_no_cloud_is_asked(
    bench: AnyscaleBench, emulator: AnyscaleEmulator, clock: ManualClock
) -> None:
    emulator.service.use(ACCOUNTS[COLLEAGUE_TOKEN], clock.now().date(), Decimal(3), job_name="nightly")
    bench.advance(2 * _HOUR_S)

    [item] = bench.bills.line_items(Window(clock.now().replace(hour=0), clock.now()))

    assert item.run_key is None
    assert emulator.requests[_CLOUD] == 0


@pytest.mark.parametrize("fate", ["lost_clouds", "closed_clouds"])
def test_a_cloud_that_does_not_tell_is_asked_once_and_stops_no_bill(
    bench: AnyscaleBench, emulator: AnyscaleEmulator, clock: ManualClock, fate: str
) -> None:
    start = clock.now().replace(hour=0)
    for _ in range(3):
        bench.finished()
    getattr(emulator.service, fate).add("cld_tinyhosted")
    bench.advance(2 * _HOUR_S)

    items = list(bench.bills.line_items(Window(start, clock.now())))

    assert [item.scope for item in items] == [Scope.RUN] * 3
    assert emulator.requests[_CLOUD] == 1


def test_where_nobody_knows_whose_machines_they_were_a_row_takes_nothing_off(
    bench: AnyscaleBench, emulator: AnyscaleEmulator, clock: ManualClock
) -> None:
    start = clock.now().replace(hour=0)
    bench.service.forget(bench.job(bench.finished()))
    emulator.service.lost_clouds.add("cld_tinyhosted")
    bench.advance(2 * _HOUR_S)

    [item] = bench.bills.line_items(Window(start, clock.now()))

    assert item.scope is Scope.PLATFORM_FEE


def test_many_runs_that_have_ended_are_asked_for_by_their_keys(
    bench: AnyscaleBench, emulator: AnyscaleEmulator
) -> None:
    order = bench.order()
    refs = [bench.submit(replace(order, key=bench.new_key())) for _ in range(25)]
    bench.service.forget(bench.job(refs[0]))
    for ref in refs[1:]:
        bench.service.terminate(bench.job(ref))
    bench.advance(60)
    before = emulator.requests.copy()

    seen = bench.provider.observe(refs)

    assert {one.state for one in seen.values()} == {RunState.ABSENT, RunState.STOPPED}
    assert emulator.requests[LIST] - before[LIST] == 3
    assert emulator.requests[GET] - before[GET] == 1
