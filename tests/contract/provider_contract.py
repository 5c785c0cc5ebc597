"""What every provider keeps to. Its test file subclasses `ProviderContract` and gives a fixture `bench`.

Tests make their own runs under fresh keys and expect others beside them, so a bench may serve a whole module. Those
that only read a finished run take `bench.finished()`, which may be the same run each time.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from ftorch.core.clock import Clock
from ftorch.core.errors import ArtifactError, RunNotFoundError
from ftorch.core.files import sha256_file
from ftorch.core.ids import Ids, installation_of, run_key
from ftorch.costs.items import SpendSource
from ftorch.jobs.receipt import write_receipt
from ftorch.manifest.catalogue import canonical_id
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import ENDED, Bundle, Feature, Observation, Provider, RunOrder, RunRef, RunState, Staged
from ftorch.providers.http import Http

INSTALLATION = "bench1"
OTHER_INSTALLATION = "other1"
SECRET = "hf-value-that-nobody-may-see"
_SEND_WINDOW = timedelta(seconds=30)


class Bench(ABC):
    """A provider and what a test needs around it. The provider's test file fills in what is abstract.

    `plan` must be one that the provider trains, with a rate where the provider has no price of its own, and long
    enough that a run is seen running. `env` is what `from_env` reads. `hidden` are texts that must never show.
    """

    patience = 300
    """How often `until` looks."""
    killed: tuple[RunState, RetryEvent] = (RunState.STOPPED, RetryEvent.PREEMPTED)
    """As what the provider shows a run that has lost its machine."""

    def __init__(
        self, provider: Provider, *, clock: Clock, plan: Plan, bundle: Bundle, env: Mapping[str, str], key: str = ""
    ) -> None:
        self.provider = provider
        self.clock = clock
        self.plan = plan
        self.bundle = bundle
        self.env = env
        self.hidden = [text for text in (SECRET, key) if text]
        self._orders: dict[str, RunOrder] = {}
        # Its own: ids grow strictly, and those of another bench, whose clock was later, would be of a time to come.
        self._ids = Ids()

    @abstractmethod
    def wait(self) -> None:
        """Let a moment pass, in which what goes on at the provider goes on."""

    @abstractmethod
    def fail(self, ref: RunRef) -> Observation:
        """Let the run, submitted and not started yet, fail by its own fault."""

    @abstractmethod
    def kill(self, ref: RunRef) -> Observation:
        """Let the run, submitted and not started yet, begin its work and lose its machine."""

    @abstractmethod
    def damage(self, ref: RunRef) -> None:
        """Spoil the adapter of a finished run where it lies at the provider."""

    def pass_minutes(self, minutes: int) -> None:
        """Let whole minutes pass, for providers that bill by them."""
        for _ in range(60 * minutes):
            self.wait()

    def until(self, state: RunState, ref: RunRef) -> Observation:
        """Let time pass until the run is seen in `state`."""
        for _ in range(self.patience):
            seen = self.provider.observe([ref]).get(ref)
            if seen and (seen.state is state or seen.state in ENDED):
                assert seen.state is state, f"{ref.key} is {seen.state} ({seen.detail}), expected was {state}"
                return seen
            self.wait()
        raise AssertionError(f"{ref.key} was not seen {state}")

    def staged(self) -> Staged:
        """The bundle at the provider, ready."""
        for _ in range(self.patience):
            staged = self.provider.stage(self.plan, self.bundle)
            if staged.ready:
                return staged
            assert staged.waiting_for, "what is not ready must say what it waits for"
            self.wait()
        raise AssertionError(f"the bundle never became ready: {staged.waiting_for}")

    def new_key(self, installation: str = INSTALLATION) -> str:
        return run_key(installation, self._ids.ulid(self.clock.now()))

    def order(self, **changes: Any) -> RunOrder:
        """An order for the bench's plan under a fresh key."""
        takes_secrets = Feature.SECRETS not in self.provider.capabilities.unsupported
        order = RunOrder(
            key=self.new_key(),
            plan=self.plan,
            staged=self.staged(),
            placement=self.provider.placements(self.plan)[0],
            send_before=self.clock.now() + _SEND_WINDOW,
            max_duration_s=None,
            secrets={"HF_TOKEN": SECRET} if takes_secrets else {},
        )
        return replace(order, **changes)

    def submit(self, order: RunOrder | None = None) -> RunRef:
        order = order or self.order()
        self._orders[order.key] = order
        return self.provider.submit(order)

    def start(self, ref: RunRef) -> None:
        self.provider.start(ref, self._orders[ref.key])

    def running(self, order: RunOrder | None = None) -> RunRef:
        """A run that is at work."""
        ref = self.submit(order)
        self.start(ref)
        self.until(RunState.RUNNING, ref)
        return ref

    def finish(self, ref: RunRef) -> Observation:
        """Let the run succeed."""
        self.start(ref)
        return self.until(RunState.SUCCEEDED, ref)

    def finished(self) -> RunRef:
        """A run that has succeeded, only to be read."""
        ref = self.submit()
        self.finish(ref)
        return ref

    def unknown(self) -> RunRef:
        """A ref that no run has, in the right account."""
        return RunRef(self.provider.name, self.provider.check().id, self.new_key())


def log_lines(provider: Provider, ref: RunRef, cursor: str | None = None) -> list[str]:
    """All lines of an ended run's log behind `cursor`."""
    lines: list[str] = []
    for _ in range(10_000):
        page = provider.logs(ref, cursor=cursor)
        lines += page.lines
        cursor = page.cursor
        if page.is_last:
            return lines
    raise AssertionError(f"the log of {ref.key} has no last page")


class DeadlineBench(Bench):
    """A bench whose provider, or the trainer there, ends a run in time."""

    @abstractmethod
    def slow_order(self) -> RunOrder:
        """An order whose work takes longer than its `max_duration_s`."""


class DeadlineContract:
    """Every provider that keeps the order's `max_duration_s`; elsewhere the engine alone does."""

    def test_the_deadline_is_enforced(self, bench: DeadlineBench) -> None:
        ref = bench.submit(bench.slow_order())
        bench.start(ref)

        seen = bench.until(RunState.TIMED_OUT, ref)

        assert seen.detail
        assert seen.retry_event is None


def _released(bench: Bench, ref: RunRef) -> bool:
    """Release until it is proven, as the engine does."""
    for _ in range(bench.patience):
        if bench.provider.release(ref):
            return True
        bench.wait()
    return False


class CoreContract:
    """Every provider, whatever it trains on, and whatever it rents."""

    def test_a_provider_that_nobody_used_closes_twice(self, bench: Bench) -> None:
        provider = type(bench.provider).from_env(bench.env)

        provider.close()
        provider.close()

    def test_from_env_takes_the_clock_of_the_engine(self, bench: Bench) -> None:
        provider = type(bench.provider).from_env(bench.env, bench.clock)

        # In what looks at runs for it, perhaps; that its transport has it says nothing.
        parts = [provider, *(one for one in vars(provider).values() if not isinstance(one, Http))]
        assert any(bench.clock in getattr(one, "__dict__", {}).values() for one in parts)
        provider.close()

    def test_check_names_the_same_account_each_time(self, bench: Bench) -> None:
        account = bench.provider.check()

        assert account.id
        assert account == bench.provider.check()

    def test_capabilities_are_numbers_that_make_sense(self, bench: Bench) -> None:
        can = bench.provider.capabilities

        assert min(can.billing_quantum_s, can.settle_lag_s, can.visibility_lag_s) >= 0
        assert min(can.create_timeout_s, can.requests_per_second, can.min_poll_s) > 0
        assert can.list_page_size is None or can.list_page_size > 0

    def test_unsupported_features_have_a_sentence(self, bench: Bench) -> None:
        for feature, sentence in bench.provider.capabilities.unsupported.items():
            assert bench.provider.name in sentence, f"{feature}: the sentence must say who cannot do it"
            assert len(sentence.split()) >= 4, f"{feature}: {sentence!r} is no sentence"
            assert sentence == sentence.strip().rstrip("."), f"{feature}: a message ends without a full stop"

    def test_stage_is_idempotent_by_content(self, bench: Bench) -> None:
        first = bench.staged()

        assert bench.provider.stage(bench.plan, bench.bundle) == first
        assert first.bundle_sha256 == bench.bundle.sha256

    def test_what_was_staged_survives_the_database(self, bench: Bench) -> None:
        staged = bench.staged()

        assert Staged(**json.loads(json.dumps(asdict(staged)))) == staged

    def test_a_quote_is_money_with_a_source_or_nothing(self, bench: Bench) -> None:
        for staged in (None, bench.staged()):
            quote = bench.provider.quote(bench.plan, staged)

            assert quote is None or (quote.amount.amount > 0 and quote.source)

    def test_placements_are_cheapest_first(self, bench: Bench) -> None:
        placements = bench.provider.placements(bench.plan)
        rates = [placement.rate for placement in placements if placement.rate is not None]

        assert placements
        assert len({placement.name for placement in placements}) == len(placements)
        assert rates == sorted(rates)

    def test_submit_makes_exactly_one_run(self, bench: Bench) -> None:
        ref = bench.submit()

        assert bench.provider.find([ref.key]) == {ref.key: [ref]}

    def test_submit_says_where_the_run_lives(self, bench: Bench) -> None:
        order = bench.order()

        ref = bench.submit(order)

        assert (ref.provider, ref.account, ref.key) == (bench.provider.name, bench.provider.check().id, order.key)

    def test_find_of_an_unknown_key_is_empty(self, bench: Bench) -> None:
        key = bench.new_key()

        assert not bench.provider.find([key]).get(key)

    def test_find_of_nothing_finds_nothing(self, bench: Bench) -> None:
        bench.submit()

        assert not bench.provider.find([])

    def test_find_tells_many_keys_apart(self, bench: Bench) -> None:
        refs = [bench.submit() for _ in range(12)]
        bench.submit()
        unknown = [bench.new_key() for _ in range(12)]

        found = bench.provider.find([*unknown, *(ref.key for ref in refs)])

        assert {key: list(runs) for key, runs in found.items() if runs} == {ref.key: [ref] for ref in refs}

    def test_every_call_works_without_a_remote_id(self, bench: Bench, tmp_path: Path) -> None:
        known = bench.finished()
        ref = replace(known, remote_id=None, place=None)
        provider = bench.provider

        assert provider.observe([ref])[ref].state is RunState.SUCCEEDED
        assert log_lines(provider, ref) == log_lines(provider, known)
        assert provider.fetch(ref, tmp_path / "a").files
        assert provider.charges(ref, ()) == provider.charges(known, ())
        provider.start(ref, bench.order(key=ref.key))
        provider.cancel(ref)

    def test_release_works_without_a_remote_id(self, bench: Bench) -> None:
        ref = bench.submit()
        bench.kill(ref)

        assert _released(bench, replace(ref, remote_id=None, place=None))

    def test_observe_of_nothing_is_nothing(self, bench: Bench) -> None:
        assert not bench.provider.observe([])

    def test_observe_answers_for_all_and_for_nobody_else(self, bench: Bench) -> None:
        bench.submit()
        bench.submit(bench.order(key=bench.new_key(OTHER_INSTALLATION)))
        refs = [bench.submit() for _ in range(3)]
        bench.submit()

        seen = bench.provider.observe(refs)

        assert set(seen) == set(refs)
        assert not {one.state for one in seen.values()} & (ENDED | {RunState.UNKNOWN})

    def test_a_run_that_never_was_is_not_taken_for_an_open_one(self, bench: Bench) -> None:
        ref = bench.unknown()

        seen = bench.provider.observe([ref]).get(ref)

        assert seen is None or seen.state is RunState.ABSENT

    def test_a_finished_run_is_observed_succeeded(self, bench: Bench) -> None:
        ref = bench.finished()

        seen = bench.provider.observe([ref])[ref]

        assert seen.state is RunState.SUCCEEDED
        assert seen.provider_status
        assert seen.retry_event is None
        assert seen.billable_from is not None
        assert seen.billable_to is not None
        assert seen.billable_from <= seen.billable_to <= seen.observed_at

    def test_a_failed_run_says_why(self, bench: Bench) -> None:
        seen = bench.fail(bench.submit())

        assert seen.state is RunState.FAILED
        assert seen.detail
        assert seen.retry_event is None

    def test_a_killed_run_has_ended_and_may_be_retried(self, bench: Bench) -> None:
        seen = bench.kill(bench.submit())

        assert (seen.state, seen.retry_event) == bench.killed
        assert seen.state in ENDED

    def test_a_run_goes_on_from_an_earlier_one(self, bench: Bench) -> None:
        earlier = bench.submit()
        bench.kill(earlier)

        ref = bench.submit(bench.order(resume_from=earlier))

        assert bench.finish(ref).state is RunState.SUCCEEDED

    def test_start_twice_runs_once(self, bench: Bench) -> None:
        ref = bench.submit()
        bench.start(ref)
        bench.start(ref)
        bench.until(RunState.RUNNING, ref)
        bench.start(ref)

        bench.until(RunState.SUCCEEDED, ref)

        assert bench.provider.find([ref.key])[ref.key] == [ref]

    def test_start_of_an_ended_run_changes_nothing(self, bench: Bench) -> None:
        ref = bench.finished()
        before = log_lines(bench.provider, ref)

        bench.start(ref)
        bench.wait()

        assert bench.provider.observe([ref])[ref].state is RunState.SUCCEEDED
        assert log_lines(bench.provider, ref) == before

    def test_a_cancelled_run_is_observed_stopped(self, bench: Bench) -> None:
        ref = bench.running()

        bench.provider.cancel(ref)

        assert bench.until(RunState.STOPPED, ref).retry_event is None

    def test_cancel_twice_is_harmless(self, bench: Bench) -> None:
        ref = bench.running()

        bench.provider.cancel(ref)
        bench.provider.cancel(ref)
        bench.until(RunState.STOPPED, ref)
        bench.provider.cancel(ref)

        assert bench.provider.observe([ref])[ref].state is RunState.STOPPED

    def test_a_run_cancelled_before_it_started_never_runs(self, bench: Bench) -> None:
        ref = bench.submit()

        bench.provider.cancel(ref)
        bench.start(ref)

        bench.until(RunState.STOPPED, ref)
        assert sum(item.amount.amount for item in bench.provider.charges(ref, ())) == 0

    def test_cancel_of_a_finished_run_changes_nothing(self, bench: Bench) -> None:
        ref = bench.finished()

        bench.provider.cancel(ref)
        bench.wait()

        assert bench.provider.observe([ref])[ref].state is RunState.SUCCEEDED

    def test_a_run_that_never_was_is_not_found(self, bench: Bench, tmp_path: Path) -> None:
        ref = bench.unknown()

        with pytest.raises(RunNotFoundError):
            bench.provider.logs(ref, cursor=None)
        with pytest.raises(RunNotFoundError):
            bench.provider.fetch(ref, tmp_path / "a")

    def test_a_run_that_never_was_is_cancelled_and_released_without_a_word(self, bench: Bench) -> None:
        ref = bench.unknown()

        bench.provider.cancel(ref)

        assert bench.provider.release(ref) is True

    def test_a_run_that_never_was_costs_nothing(self, bench: Bench) -> None:
        assert not bench.provider.charges(bench.unknown(), ())

    def test_fetch_is_complete_and_hashed(self, bench: Bench, tmp_path: Path) -> None:
        artifact = bench.provider.fetch(bench.finished(), tmp_path / "a")

        arrived = {
            path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()
        }
        assert artifact.folder == tmp_path / "a"
        assert arrived == {*artifact.files, "result.json"}
        for name, digest in artifact.files.items():
            path = artifact.folder / name
            assert (sha256_file(path), path.stat().st_size) == (digest.sha256, digest.size)

    def test_a_fetched_adapter_is_the_one_ordered(self, bench: Bench, tmp_path: Path) -> None:
        ref = bench.finished()
        base_id = canonical_id(bench.plan.base_model.id)

        artifact = bench.provider.fetch(ref, tmp_path / "a")

        assert write_receipt(artifact, bench.plan, base_id=base_id, job_id="job", run_key=ref.key)["tensors"]

    def test_fetch_twice_gives_the_same(self, bench: Bench, tmp_path: Path) -> None:
        ref = bench.finished()

        assert bench.provider.fetch(ref, tmp_path / "a") == bench.provider.fetch(ref, tmp_path / "a")

    def test_fetch_mends_a_file_that_is_wrong_at_home(self, bench: Bench, tmp_path: Path) -> None:
        ref = bench.finished()
        whole = bench.provider.fetch(ref, tmp_path / "a")
        weights = whole.folder / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-7])
        (whole.folder / "adapter_config.json").write_text("{}")

        assert bench.provider.fetch(ref, tmp_path / "a") == whole
        assert sha256_file(weights) == whole.files[weights.name].sha256

    def test_a_damaged_artifact_is_refused(self, bench: Bench, tmp_path: Path) -> None:
        ref = bench.submit()
        bench.finish(ref)
        bench.damage(ref)

        for _ in range(2):
            with pytest.raises(ArtifactError):
                bench.provider.fetch(ref, tmp_path / "a")

    def test_a_run_that_has_not_finished_has_no_adapter(self, bench: Bench, tmp_path: Path) -> None:
        ref = bench.running()

        with pytest.raises((ArtifactError, RunNotFoundError)):
            bench.provider.fetch(ref, tmp_path / "a")

        assert not list((tmp_path / "a").rglob("*.safetensors"))
        bench.provider.cancel(ref)

    def test_release_is_proven_and_repeatable(self, bench: Bench) -> None:
        ref = bench.submit()
        bench.finish(ref)

        assert _released(bench, ref)
        assert bench.provider.release(ref) is True

    def test_release_keeps_staged_content(self, bench: Bench) -> None:
        staged = bench.staged()
        ref = bench.submit()
        bench.kill(ref)

        assert _released(bench, ref)

        assert bench.provider.stage(bench.plan, bench.bundle) == staged

    def test_logs_go_on_from_the_cursor(self, bench: Bench) -> None:
        ref = bench.finished()
        whole = log_lines(bench.provider, ref)

        page = bench.provider.logs(ref, cursor=None)

        assert whole
        assert [*page.lines, *log_lines(bench.provider, ref, page.cursor)] == whole

    def test_a_log_that_is_followed_is_whole(self, bench: Bench) -> None:
        ref = bench.running()
        page = bench.provider.logs(ref, cursor=None)

        bench.until(RunState.SUCCEEDED, ref)

        assert not page.is_last
        followed = [*page.lines, *log_lines(bench.provider, ref, page.cursor)]
        assert followed == log_lines(bench.provider, ref)

    def test_a_run_that_waits_has_no_log_yet(self, bench: Bench) -> None:
        page = bench.provider.logs(bench.submit(), cursor=None)

        assert (list(page.lines), page.is_last) == ([], False)

    def test_charges_are_stable(self, bench: Bench) -> None:
        ref = bench.finished()
        history = [bench.provider.observe([ref])[ref]]

        first = bench.provider.charges(ref, history)
        bench.wait()

        assert bench.provider.charges(ref, history) == first
        assert bool(first) is (bench.provider.capabilities.spend_source is not SpendSource.NONE)

    def test_charges_name_the_run_and_add_up(self, bench: Bench) -> None:
        ref = bench.finished()

        for item in bench.provider.charges(ref, [bench.provider.observe([ref])[ref]]):
            assert item.run_key == ref.key
            assert item.source_ref
            assert item.amount.amount >= 0
            if item.unit_price is not None:
                assert abs(item.unit_price * item.quantity * 1_000_000 - item.amount.amount * 1_000_000) <= 1

    def test_owned_lists_all_runs_of_our_installation_and_no_others(self, bench: Bench) -> None:
        ours = bench.submit()
        theirs = bench.submit(bench.order(key=bench.new_key(OTHER_INSTALLATION)))

        owned = list(bench.provider.owned(INSTALLATION))

        assert ours in owned
        assert theirs not in owned
        assert {installation_of(ref.key) for ref in owned} == {INSTALLATION}

    def test_owned_lists_ended_runs_too(self, bench: Bench) -> None:
        assert bench.finished() in list(bench.provider.owned(INSTALLATION))

    def test_keys_and_secrets_never_show(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        order = bench.order()
        with structlog.testing.capture_logs() as lines:
            ref = bench.submit(order)
            bench.start(ref)
            seen = bench.provider.observe([ref])
            bench.provider.cancel(ref)

        shown = repr((bench.provider, order, ref, seen, lines)) + caplog.text
        assert [text for text in bench.hidden if text in shown] == []


class RentedMachineContract:
    """Every provider whose machine goes on costing until it is given back."""

    def test_a_machine_that_is_held_goes_on_costing(self, bench: Bench) -> None:
        ref = bench.submit()
        seen = bench.finish(ref)
        (before,) = bench.provider.charges(ref, [seen])

        bench.pass_minutes(3)

        (after,) = bench.provider.charges(ref, [bench.provider.observe([ref])[ref]])
        assert after.amount.amount > before.amount.amount

    def test_a_released_machine_costs_no_more(self, bench: Bench) -> None:
        ref = bench.submit()
        seen = bench.finish(ref)
        (before,) = bench.provider.charges(ref, [seen])

        assert _released(bench, ref)

        (after,) = bench.provider.charges(ref, [seen])
        bench.pass_minutes(3)
        assert list(bench.provider.charges(ref, [seen])) == [after]
        assert after.amount.amount >= before.amount.amount
        assert after.source_ref == before.source_ref

    def test_an_amount_that_was_derived_says_so_and_within_what(self, bench: Bench) -> None:
        ref = bench.submit()
        (item,) = bench.provider.charges(ref, [bench.finish(ref)])

        assert item.source is not SpendSource.BILLING_API
        assert item.between is not None
        assert item.between[0].amount <= item.amount.amount <= item.between[1].amount
        assert "not billed" in item.description


class ProviderContract(CoreContract):
    """Every provider whose run costs no more once it has ended."""

    def test_a_released_run_can_still_be_charged(self, bench: Bench) -> None:
        ref = bench.submit()
        seen = bench.finish(ref)
        before = bench.provider.charges(ref, [seen])

        assert _released(bench, ref)

        assert bench.provider.charges(ref, [seen]) == before
