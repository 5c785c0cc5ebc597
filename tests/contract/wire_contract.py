"""What a provider over a network keeps to while the network and the service misbehave."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from math import ceil
from pathlib import Path

import pytest

from contract.provider_contract import INSTALLATION, SECRET, Bench
from ftorch.core.errors import (
    ArtifactError,
    CredentialsError,
    FtorchError,
    NoCapacityError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RateLimitedError,
    RunRejectedError,
    SubmitUnknownError,
)
from ftorch.providers.base import Observation, Provider, RunRef, RunState

RETRY_AFTER_S = 77
"""What a service that limits the rate asks for; longer than a read may wait."""


class WireFault(StrEnum):
    """What a bench can let go wrong."""

    CREATE_ANSWER_DROPPED = "create_answer_dropped"
    CREATE_ANSWER_503 = "create_answer_503"
    CREATE_ANSWER_LATE = "create_answer_late"
    """Later than the client waits."""
    CREATE_ANSWER_GARBAGE = "create_answer_garbage"
    CREATE_DROPPED = "create_dropped"
    """Before anything was made."""
    CREATE_LIMITED = "create_limited"
    CREATE_REJECTED = "create_rejected"
    """With words that repeat the key of the run and its secrets."""
    CREATE_NO_CAPACITY = "create_no_capacity"
    CREATE_KEY_REFUSED = "create_key_refused"
    """With words that repeat the key."""
    LIST_FAILS = "list_fails"
    LIST_DROPPED = "list_dropped"
    LIST_GARBAGE = "list_garbage"
    LIST_LIMITED = "list_limited"
    LIST_UNKNOWN_STATUS = "list_unknown_status"
    LIST_SHUFFLED = "list_shuffled"
    """Every answer with runs has them in another order; the pages are the same."""
    SINGLE_FAILS = "single_fails"
    """A question about one run by its id, with 500."""
    CANCEL_FAILS = "cancel_fails"
    """With 503, after the work was done."""
    DOWNLOAD_CUT = "download_cut"
    DOWNLOAD_DAMAGED = "download_damaged"
    DOWNLOAD_WITHOUT_RANGE = "download_without_range"


ANSWER_LOST = (
    WireFault.CREATE_ANSWER_DROPPED,
    WireFault.CREATE_ANSWER_503,
    WireFault.CREATE_ANSWER_LATE,
    WireFault.CREATE_ANSWER_GARBAGE,
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the service has been asked so far."""

    creates: int
    lists: int
    """Pages and searches."""
    singles: int
    """Questions about one run by its id."""
    contents: int
    """Uploads of content."""
    writes: int
    """All requests that change something, creates and uploads included."""
    downloaded: int
    """Bytes of artifacts."""


class WireBench(Bench):
    """A bench whose service is an emulator with faults and a clock of its own."""

    tries = 3
    """How often a question is asked at most."""

    @abstractmethod
    def script(self, fault: WireFault, *, times: int | None = 1) -> None:
        """Let it happen so many times; None: from now on always."""

    @abstractmethod
    def heal(self) -> None:
        """No more faults."""

    @abstractmethod
    def traffic(self) -> Traffic: ...

    @abstractmethod
    def made(self, key: str) -> int:
        """How many runs the service has made under the key."""

    @abstractmethod
    def advance(self, seconds: float) -> None:
        """Move the service's clock and ours."""

    @abstractmethod
    def hide_new_runs(self, seconds: float) -> None:
        """From now on a new run is missing from lists and searches for so long."""

    @abstractmethod
    def vanish(self, ref: RunRef) -> None:
        """Let the service forget the run."""

    @abstractmethod
    def unreachable(self) -> Provider:
        """The provider, with the address of a machine that refuses connections."""

    @abstractmethod
    def with_refused_key(self) -> Provider:
        """The provider, with a key that the service does not know."""

    @abstractmethod
    def of_another_account(self) -> Provider:
        """The provider, with a good key of another account."""

    @property
    @abstractmethod
    def key_variable(self) -> str:
        """The environment variable that holds the key."""


def _observe(provider: Provider, ref: RunRef, _folder: Path) -> object:
    return provider.observe([ref])


def _logs(provider: Provider, ref: RunRef, _folder: Path) -> object:
    return provider.logs(ref, cursor=None)


def _cancel(provider: Provider, ref: RunRef, _folder: Path) -> object:
    return provider.cancel(ref)  # type: ignore[func-returns-value]  # one shape for all calls


def _fetch(provider: Provider, ref: RunRef, folder: Path) -> object:
    return provider.fetch(ref, folder)


def _release(provider: Provider, ref: RunRef, _folder: Path) -> object:
    return provider.release(ref)


def _charges(provider: Provider, ref: RunRef, _folder: Path) -> object:
    return provider.charges(ref, ())


CALLS = (_observe, _logs, _cancel, _fetch, _release, _charges)
Call = Callable[[Provider, RunRef, Path], object]


class CapacityContract:
    """Every provider that says when it has no machine; others let a run wait in their queue."""

    def test_a_create_without_capacity_is_named_and_not_repeated(self, bench: WireBench) -> None:
        order = bench.order()
        before = bench.traffic().creates
        bench.script(WireFault.CREATE_NO_CAPACITY)

        with pytest.raises(NoCapacityError):
            bench.submit(order)

        assert bench.traffic().creates - before == 1
        assert bench.made(order.key) == 0


class StatusWordsContract:
    """Every provider whose service has words for what a run does; an exit code is none."""

    def test_an_unknown_status_is_unknown_and_kept(self, bench: WireBench) -> None:
        ref = bench.running()
        bench.script(WireFault.LIST_UNKNOWN_STATUS)

        seen = bench.provider.observe([ref])[ref]

        assert seen.state is RunState.UNKNOWN
        assert seen.provider_status not in {state.value for state in RunState}


class HttpAnswersContract:
    """Every provider that reads bodies of HTTP; gRPC tells no more than that it could not read."""

    def test_an_answer_that_nobody_can_read_is_kept(self, bench: WireBench) -> None:
        ref = bench.running()
        bench.script(WireFault.LIST_GARBAGE, times=None)

        with pytest.raises(ProviderProtocolError) as caught:
            bench.provider.observe([ref])

        assert "<html>" in caught.value.body
        assert caught.value.request_id


class ResumeContract:
    """Every provider that can go on with a file that was cut."""

    def test_a_download_that_was_cut_goes_on_where_it_ended(self, bench: WireBench, tmp_path: Path) -> None:
        ref = bench.finished()
        start = bench.traffic().downloaded
        bench.provider.fetch(ref, tmp_path / "whole")
        whole = bench.traffic().downloaded - start
        bench.script(WireFault.DOWNLOAD_CUT)

        artifact = bench.provider.fetch(ref, tmp_path / "cut")

        assert bench.traffic().downloaded - start - whole == whole
        assert artifact.files == bench.provider.fetch(ref, tmp_path / "whole").files

    def test_a_fetch_that_gave_up_goes_on_at_the_next_call(self, bench: WireBench, tmp_path: Path) -> None:
        ref = bench.finished()
        start = bench.traffic().downloaded
        bench.provider.fetch(ref, tmp_path / "whole")
        whole = bench.traffic().downloaded - start
        bench.script(WireFault.DOWNLOAD_CUT, times=None)
        with pytest.raises(ProviderUnavailableError):
            bench.provider.fetch(ref, tmp_path / "cut")

        bench.heal()
        bench.provider.fetch(ref, tmp_path / "cut")

        assert bench.traffic().downloaded - start - whole <= whole + 2


class RangesContract(ResumeContract):
    """The same over HTTP, where a service may not understand what a range is."""

    def test_a_service_without_ranges_still_brings_the_whole(self, bench: WireBench, tmp_path: Path) -> None:
        ref = bench.finished()
        bench.script(WireFault.DOWNLOAD_CUT)
        bench.script(WireFault.DOWNLOAD_WITHOUT_RANGE, times=None)

        assert bench.provider.fetch(ref, tmp_path / "a").files


class NetworkContract:
    """Every provider that works over a network, whatever answers there."""

    def test_from_env_and_close_send_nothing(self, bench: WireBench) -> None:
        before = bench.traffic()

        type(bench.provider).from_env(bench.env).close()

        assert bench.traffic() == before

    @pytest.mark.parametrize("fault", ANSWER_LOST)
    def test_a_lost_answer_is_unknown_and_the_run_is_found(self, bench: WireBench, fault: WireFault) -> None:
        order = bench.order()
        before = bench.traffic().creates
        bench.script(fault)

        with pytest.raises(SubmitUnknownError):
            bench.submit(order)

        assert len(bench.provider.find([order.key])[order.key]) == bench.made(order.key) == 1
        assert bench.traffic().creates - before == 1

    def test_a_create_that_was_cut_on_its_way_is_unknown(self, bench: WireBench) -> None:
        order = bench.order()
        before = bench.traffic().creates
        bench.script(WireFault.CREATE_DROPPED)

        with pytest.raises(SubmitUnknownError):
            bench.submit(order)

        assert not bench.provider.find([order.key]).get(order.key)
        assert bench.traffic().creates - before == 1

    def test_after_send_before_nothing_is_written(self, bench: WireBench) -> None:
        order = bench.order()
        before = bench.traffic().creates

        with pytest.raises(ProviderUnavailableError):
            bench.submit(replace(order, send_before=bench.clock.now() - timedelta(microseconds=1)))

        assert bench.traffic().creates == before

    def test_a_refused_connection_is_unavailable(self, bench: WireBench) -> None:
        order = bench.order()
        provider = bench.unreachable()

        with pytest.raises(ProviderUnavailableError) as submitting:
            provider.submit(order)
        with pytest.raises(ProviderUnavailableError) as finding:
            provider.find([order.key])

        assert submitting.value.provider == finding.value.provider == bench.provider.name

    @pytest.mark.parametrize("fault", [WireFault.LIST_FAILS, WireFault.LIST_DROPPED])
    def test_a_read_that_fails_is_tried_again(self, bench: WireBench, fault: WireFault) -> None:
        ref = bench.running()
        bench.script(fault, times=2)

        assert bench.provider.observe([ref])[ref].state is RunState.RUNNING

    @pytest.mark.parametrize("fault", [WireFault.LIST_FAILS, WireFault.LIST_DROPPED])
    def test_a_service_that_is_down_is_never_a_run_that_is_gone(self, bench: WireBench, fault: WireFault) -> None:
        ref = bench.running()
        before = bench.traffic().lists
        bench.script(fault, times=None)

        for look in (lambda: bench.provider.observe([ref]), lambda: bench.provider.find([ref.key])):
            with pytest.raises(ProviderUnavailableError):
                look()

        assert bench.traffic().lists - before <= 2 * bench.tries

    def test_a_cancel_whose_answer_was_lost_is_repeated(self, bench: WireBench) -> None:
        ref = bench.running()
        bench.script(WireFault.CANCEL_FAILS)

        bench.provider.cancel(ref)

        assert bench.until(RunState.STOPPED, ref).state is RunState.STOPPED

    def test_a_run_that_is_listed_late_is_not_absent(self, bench: WireBench) -> None:
        lag_s = bench.provider.capabilities.visibility_lag_s
        bench.hide_new_runs(lag_s)

        ref = bench.submit()

        assert self._is_open(bench.provider.observe([ref]).get(ref))
        without_id = replace(ref, remote_id=None)
        assert self._is_open(bench.provider.observe([without_id]).get(without_id))

    def test_a_run_that_is_listed_late_is_not_absent_when_asking_for_it_fails(self, bench: WireBench) -> None:
        bench.hide_new_runs(bench.provider.capabilities.visibility_lag_s)
        ref = bench.submit()
        bench.script(WireFault.SINGLE_FAILS, times=None)

        with suppress(ProviderUnavailableError):
            assert self._is_open(bench.provider.observe([ref]).get(ref))

    def test_a_run_that_is_listed_late_is_found_after_the_lag(self, bench: WireBench) -> None:
        lag_s = bench.provider.capabilities.visibility_lag_s
        bench.hide_new_runs(lag_s)

        ref = bench.submit()
        bench.advance(lag_s)

        assert bench.provider.find([ref.key])[ref.key] == [ref]

    def test_a_run_that_is_gone_is_absent(self, bench: WireBench) -> None:
        ref, other = bench.running(), bench.running()

        bench.vanish(ref)

        seen = bench.provider.observe([ref, other])
        assert (seen[ref].state, seen[other].state) == (RunState.ABSENT, RunState.RUNNING)
        assert not bench.provider.find([ref.key]).get(ref.key)

    def test_a_run_that_is_gone_is_released(self, bench: WireBench) -> None:
        ref = bench.running()
        bench.vanish(ref)

        bench.provider.cancel(ref)

        assert bench.provider.release(ref) is True

    def test_a_run_that_is_gone_is_charged_by_what_we_saw(self, bench: WireBench) -> None:
        ref = bench.running()
        bench.advance(10)
        history = [bench.provider.observe([ref])[ref]]
        bench.vanish(ref)

        (item,) = bench.provider.charges(ref, history)

        assert item.amount.amount > 0
        assert item.run_key == ref.key

    def test_a_run_goes_on_although_the_earlier_one_is_gone(self, bench: WireBench) -> None:
        earlier = bench.submit()
        bench.kill(earlier)
        bench.vanish(earlier)

        for gone in (earlier, replace(earlier, remote_id=None)):
            ref = bench.submit(bench.order(resume_from=gone))

            assert bench.made(ref.key) == 1

    def test_many_runs_are_observed_page_by_page(self, bench: WireBench) -> None:
        page = bench.provider.capabilities.list_page_size or 10
        order = bench.order()
        refs = [bench.submit(replace(order, key=bench.new_key())) for _ in range(2 * page + 5)]
        before = bench.traffic()

        seen = bench.provider.observe(refs)

        after = bench.traffic()
        assert set(seen) == set(refs)
        assert after.lists - before.lists <= ceil(len(refs) / page) + 1
        assert after.singles == before.singles

    def test_no_page_is_left_out(self, bench: WireBench) -> None:
        order = bench.order()
        count = 2 * (bench.provider.capabilities.list_page_size or 10) + 1
        refs = [bench.submit(replace(order, key=bench.new_key())) for _ in range(count)]

        found = bench.provider.find([ref.key for ref in refs])

        assert {key: list(runs) for key, runs in found.items()} == {ref.key: [ref] for ref in refs}
        assert set(refs) <= set(bench.provider.owned(INSTALLATION))

    def test_runs_in_another_order_are_all_there(self, bench: WireBench) -> None:
        order = bench.order()
        count = (bench.provider.capabilities.list_page_size or 10) + 2
        refs = [bench.submit(replace(order, key=bench.new_key())) for _ in range(count)]
        bench.script(WireFault.LIST_SHUFFLED, times=None)

        found = bench.provider.find([ref.key for ref in refs])

        assert {key: list(runs) for key, runs in found.items()} == {ref.key: [ref] for ref in refs}
        assert set(refs) <= set(bench.provider.owned(INSTALLATION))
        assert set(bench.provider.observe(refs)) == set(refs)

    @pytest.mark.parametrize("others", [0, 30])
    def test_runs_under_one_key_are_found_oldest_first_in_whatever_order_they_are_listed(
        self, bench: WireBench, others: int
    ) -> None:
        order = bench.order()
        both = [bench.submit(order)]
        bench.wait()
        both.append(bench.submit(order))
        bench.script(WireFault.LIST_SHUFFLED, times=None)

        found = bench.provider.find([order.key, *(bench.new_key() for _ in range(others))])

        # Where the key is the run's id, both are one.
        assert list(found[order.key]) == list(dict.fromkeys(both))

    def test_asking_changes_nothing(self, bench: WireBench, tmp_path: Path) -> None:
        ref = bench.finished()
        before = bench.traffic().writes
        provider = bench.provider

        provider.check()
        provider.quote(bench.plan, None)
        provider.placements(bench.plan)
        provider.find([ref.key])
        provider.logs(ref, cursor=None)
        provider.fetch(ref, tmp_path / "a")
        provider.charges(ref, [provider.observe([ref])[ref]])
        list(provider.owned(INSTALLATION))

        assert bench.traffic().writes == before

    def test_staged_content_is_not_sent_again(self, bench: WireBench) -> None:
        bench.staged()
        before = bench.traffic().contents

        bench.staged()

        assert bench.traffic().contents == before

    def test_a_download_that_was_damaged_on_its_way_is_not_kept(self, bench: WireBench, tmp_path: Path) -> None:
        ref = bench.finished()
        bench.script(WireFault.DOWNLOAD_DAMAGED)
        with pytest.raises(ArtifactError):
            bench.provider.fetch(ref, tmp_path / "a")

        assert bench.provider.fetch(ref, tmp_path / "a").files

    @staticmethod
    def _is_open(seen: Observation | None) -> bool:
        """Seen at work, or nothing was learned."""
        return seen is None or seen.state in (RunState.PROVISIONED, RunState.QUEUED, RunState.RUNNING)


class ServiceContract:
    """Every provider whose service knows keys, limits and words of its own."""

    def test_from_env_without_the_key_names_its_variable(self, bench: WireBench) -> None:
        with pytest.raises(CredentialsError, match=bench.key_variable) as caught:
            type(bench.provider).from_env({})

        assert caught.value.hint

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (WireFault.CREATE_LIMITED, RateLimitedError),
            (WireFault.CREATE_REJECTED, RunRejectedError),
            (WireFault.CREATE_KEY_REFUSED, CredentialsError),
        ],
    )
    def test_a_refused_create_is_named_and_not_repeated(
        self, bench: WireBench, fault: WireFault, error: type[FtorchError]
    ) -> None:
        order = bench.order()
        before = bench.traffic().creates
        bench.script(fault)

        with pytest.raises(error) as caught:
            bench.submit(order)

        assert bench.traffic().creates - before == 1
        assert bench.made(order.key) == 0
        assert [text for text in bench.hidden if text in f"{caught.value} {caught.value.hint} {caught.value!r}"] == []

    def test_a_limited_create_says_for_how_long(self, bench: WireBench) -> None:
        order = bench.order()
        bench.script(WireFault.CREATE_LIMITED)

        with pytest.raises(RateLimitedError) as caught:
            bench.submit(order)

        assert caught.value.retry_after_s == RETRY_AFTER_S

    def test_at_send_before_it_may_still_be_written(self, bench: WireBench) -> None:
        order = bench.order()

        ref = bench.submit(replace(order, send_before=bench.clock.now()))

        assert bench.made(ref.key) == 1

    def test_a_refused_key_is_named(self, bench: WireBench) -> None:
        with pytest.raises(CredentialsError) as caught:
            bench.with_refused_key().check()

        assert bench.key_variable in (caught.value.hint or "")

    @pytest.mark.parametrize("call", CALLS)
    def test_a_run_of_another_account_is_never_lost(self, bench: WireBench, call: Call, tmp_path: Path) -> None:
        ref = bench.finished()

        with pytest.raises(CredentialsError):
            call(bench.of_another_account(), ref, tmp_path / "a")

    def test_a_read_does_not_wait_longer_than_its_patience(self, bench: WireBench) -> None:
        ref = bench.running()
        start = bench.clock.boot_s()
        bench.script(WireFault.LIST_LIMITED, times=None)

        with pytest.raises(RateLimitedError) as caught:
            bench.provider.observe([ref])

        assert caught.value.retry_after_s == RETRY_AFTER_S
        assert bench.clock.boot_s() - start <= 10

    def test_a_rejected_order_keeps_the_words_without_the_secrets(self, bench: WireBench) -> None:
        order = bench.order()
        bench.script(WireFault.CREATE_REJECTED)

        with pytest.raises(RunRejectedError) as caught:
            bench.submit(order)

        assert order.key in caught.value.message
        assert "***" in caught.value.message or not order.secrets
        assert SECRET not in caught.value.message


class WireContract(NetworkContract, ServiceContract):
    """Every provider that talks to a service over HTTP, artifacts included."""
