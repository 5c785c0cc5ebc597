"""What becomes of a key that is used twice. A provider subclasses the one that its capabilities claim."""

from __future__ import annotations

from contract.provider_contract import Bench
from ftorch.providers.base import Find, RunState


class MarkedRunsContract:
    """The key is a mark on the run: a second create makes a second run, and both are found."""

    def test_the_capabilities_say_so(self, bench: Bench) -> None:
        assert not bench.provider.capabilities.client_chosen_id
        assert bench.provider.capabilities.find is not Find.NONE

    def test_two_runs_under_one_key_are_found_oldest_first(self, bench: Bench) -> None:
        order = bench.order()
        first = bench.submit(order)
        bench.wait()
        second = bench.submit(order)

        assert first != second
        assert list(bench.provider.find([order.key])[order.key]) == [first, second]

    def test_two_runs_under_one_key_are_found_oldest_first_among_many_keys(self, bench: Bench) -> None:
        order = bench.order()
        both = [bench.submit(order), bench.submit(order)]

        found = bench.provider.find([order.key, *(bench.new_key() for _ in range(30))])

        assert list(found[order.key]) == both

    def test_two_runs_under_one_key_are_told_apart(self, bench: Bench) -> None:
        order = bench.order()
        oldest, extra = bench.submit(order), bench.submit(order)

        bench.provider.cancel(extra)
        bench.until(RunState.STOPPED, extra)

        seen = bench.provider.observe([oldest, extra])
        assert seen[extra].state is RunState.STOPPED
        assert seen[oldest].state is not RunState.STOPPED

    def test_two_runs_under_one_key_are_charged_apart(self, bench: Bench) -> None:
        order = bench.order()
        refs = [bench.submit(order), bench.submit(order)]
        for ref in refs:
            bench.finish(ref)

        items = [item for ref in refs for item in bench.provider.charges(ref, ())]

        assert len({item.source_ref for item in items}) == len(items) >= 2


class NamedRunsContract:
    """The key is the run's name while it lives: a second create meanwhile makes no second run, a later one would."""

    def test_the_capabilities_say_so(self, bench: Bench) -> None:
        assert not bench.provider.capabilities.client_chosen_id
        assert bench.provider.capabilities.find is Find.TAG

    def test_a_second_create_is_the_same_run(self, bench: Bench) -> None:
        order = bench.order()
        first = bench.submit(order)

        assert bench.submit(order) == first
        assert list(bench.provider.find([order.key])[order.key]) == [first]

    def test_a_run_that_has_ended_is_found_by_its_key(self, bench: Bench) -> None:
        ref = bench.submit()
        bench.finish(ref)

        assert list(bench.provider.find([ref.key])[ref.key]) == [ref]

    def test_a_run_that_has_ended_is_found_among_many_keys(self, bench: Bench) -> None:
        ended, living = bench.submit(), bench.submit()
        bench.kill(ended)
        keys = [ended.key, living.key, *(bench.new_key() for _ in range(30))]

        found = bench.provider.find(keys)

        assert {key: list(refs) for key, refs in found.items() if refs} == {ended.key: [ended], living.key: [living]}


class ChosenIdContract:
    """The key is the run's id: a second create with it makes no second run."""

    def test_the_capabilities_say_so(self, bench: Bench) -> None:
        assert bench.provider.capabilities.client_chosen_id

    def test_a_second_create_is_the_same_run(self, bench: Bench) -> None:
        order = bench.order()
        first = bench.submit(order)

        assert bench.submit(order) == first
        assert list(bench.provider.find([order.key])[order.key]) == [first]
