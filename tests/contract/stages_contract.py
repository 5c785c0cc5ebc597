"""What a provider that keeps staged content keeps to: all of it is listed, and what is deleted can come again."""

from __future__ import annotations

from abc import abstractmethod

from contract.provider_contract import Bench
from ftorch.core.ids import mark_in
from ftorch.providers.base import StagedContent, Stages


class StagesBench(Bench):
    """A bench whose provider keeps what was staged."""

    stages: Stages
    stages_of_another: Stages
    """The same service, with a good key of another account."""

    @abstractmethod
    def fill_content(self) -> int:
        """Let the account have more content than a page of the list; returns how much there is."""


def staged(bench: StagesBench) -> list[StagedContent]:
    """What the bundle has left at the provider."""
    hashes = {*bench.bundle.files.values(), bench.bundle.sha256}
    listed = list(bench.stages.staged_content())
    return [one for one in listed if one.sha256 in hashes or mark_in(one.name)]


class StagesContract:
    """Every provider that keeps staged content."""

    def test_the_provider_says_that_it_keeps_content(self, bench: StagesBench) -> None:
        assert isinstance(bench.provider, Stages)

    def test_what_was_staged_is_listed_with_its_age_and_size(self, bench: StagesBench) -> None:
        before = bench.clock.now()
        bench.staged()

        found = staged(bench)

        assert found
        assert all(before <= one.created_at <= bench.clock.now() for one in found)
        assert all(one.size > 0 for one in found)

    def test_all_content_is_listed_once(self, bench: StagesBench) -> None:
        count = bench.fill_content()

        ids = [one.id for one in bench.stages.staged_content()]

        assert len(ids) == len(set(ids)) == count

    def test_discarding_one_leaves_the_others(self, bench: StagesBench) -> None:
        bench.fill_content()
        gone, *others = bench.stages.staged_content()

        bench.stages.discard(gone)

        assert list(bench.stages.staged_content()) == others

    def test_discarding_twice_is_harmless(self, bench: StagesBench) -> None:
        bench.staged()
        [gone, *_] = staged(bench)

        bench.stages.discard(gone)
        bench.stages.discard(gone)

        assert gone not in staged(bench)

    def test_what_was_discarded_is_staged_again(self, bench: StagesBench) -> None:
        first = bench.staged()
        for one in staged(bench):
            bench.stages.discard(one)

        again = bench.staged()

        assert (again.ready, again.bundle_sha256) == (True, first.bundle_sha256)
        assert staged(bench)

    def test_another_account_neither_sees_nor_deletes_it(self, bench: StagesBench) -> None:
        bench.staged()
        ours = staged(bench)

        assert not set(ours) & set(bench.stages_of_another.staged_content())
        for one in ours:
            bench.stages_of_another.discard(one)
        assert staged(bench) == ours
