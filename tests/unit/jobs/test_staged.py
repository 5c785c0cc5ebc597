"""Content at a provider that no job needs any more: only ours, only old, and never what an open job names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from ftorch.core.errors import ProviderUnavailableError
from ftorch.jobs.admit import ask_retry
from ftorch.jobs.bundle import hashes_of
from ftorch.jobs.reap import ReapReport, reap
from ftorch.jobs.serial import staged_text
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Bundle, Staged, StagedContent, Stages
from unit.jobs.cloud import NAME, Cloud, CloudProvider
from unit.jobs.desk import Desk
from unit.plans import facts, plan

OLD = timedelta(days=31)


class Shelf(CloudProvider):
    """A cloud that keeps the rows that were staged, under an id of its own."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.kept: dict[str, StagedContent] = {}

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        self.put(plan.dataset.train_sha256)
        return Staged(True, bundle.sha256, {"rows": f"file-{plan.dataset.train_sha256[:4]}"})

    def put(self, sha256: str | None, name: str = "", file: str | None = None) -> str:
        content = StagedContent(file or f"file-{(sha256 or '')[:4]}", name, self._cloud.clock.now(), 10, sha256)
        return self.kept.setdefault(content.id, content).id

    def staged_content(self) -> Iterator[StagedContent]:
        yield from list(self.kept.values())

    def discard(self, content: StagedContent) -> None:
        self.kept.pop(content.id, None)


@pytest.fixture
def shelf(desk: Desk) -> Shelf:
    """The desk's provider, which keeps content from now on."""
    made = Shelf(desk.cloud)
    desk.context = replace(desk.context, open_provider=lambda _name: made)
    desk.engine = type(desk.engine)(desk.context)
    return made


def reaped(desk: Desk, *, yes: bool = False) -> ReapReport:
    return reap(desk.context, [NAME], is_asked=True, yes=yes)


def listed(desk: Desk) -> list[str]:
    return [one.id for one in reaped(desk).contents]


def old_job(desk: Desk, **changes: object) -> str:
    """A job that ended badly more than 30 days ago."""
    desk.cloud.faults = ["reject"]
    job = desk.finish(desk.submit(plan(providers=(NAME,), **changes)))
    desk.clock.advance(OLD.total_seconds())
    return job.id


def test_a_provider_that_keeps_nothing_is_not_asked(desk: Desk) -> None:
    assert not isinstance(desk.context.open_provider(NAME), Stages)
    assert reaped(desk).contents == []


def test_old_content_of_a_job_that_has_ended_is_listed_and_only_listed(desk: Desk, shelf: Shelf) -> None:
    old_job(desk)

    [found] = reaped(desk).contents

    assert (found.id, found.size, found.is_gone) == ("file-aaaa", 10, False)
    assert list(shelf.kept) == ["file-aaaa"]


def test_yes_deletes_it(desk: Desk, shelf: Shelf) -> None:
    old_job(desk)

    report = reaped(desk, yes=True)

    assert [one.is_gone for one in report.contents] == [True]
    assert (shelf.kept, report.left) == ({}, 0)


def test_a_job_that_is_retried_later_stages_again(desk: Desk, shelf: Shelf) -> None:
    job = old_job(desk)
    reaped(desk, yes=True)

    ask_retry(desk.context, job)

    assert desk.finish(job).state == "succeeded"
    assert list(shelf.kept) == ["file-aaaa"]


def test_what_is_not_30_days_old_stays(desk: Desk, shelf: Shelf) -> None:
    old_job(desk)
    shelf.kept["file-aaaa"] = replace(shelf.kept["file-aaaa"], created_at=desk.clock.now() - timedelta(days=29))

    assert listed(desk) == []


@pytest.mark.parametrize("faults", [[], ["reject"]], ids=["open", "ended a moment ago"])
def test_what_an_open_or_recent_job_names_stays(desk: Desk, shelf: Shelf, faults: list[str]) -> None:
    old_job(desk)
    desk.cloud.faults = faults
    desk.submit(plan(providers=(NAME,), name="another"))
    desk.settle()

    assert listed(desk) == []


def test_what_a_job_will_stage_again_stays_by_its_hash(desk: Desk, shelf: Shelf) -> None:
    old_job(desk)
    desk.submit(plan(providers=(NAME, "second"), name="another"), provider="second")

    assert listed(desk) == []


def test_while_a_job_is_being_staged_nothing_is_deleted(desk: Desk, shelf: Shelf) -> None:
    old_job(desk)
    desk.submit(plan(providers=(NAME,), name="another", dataset=facts(train_sha256="d" * 64)))

    [left] = reaped(desk, yes=True).contents

    assert (left.left, left.is_gone) == ("a job is being staged there", False)
    assert "file-aaaa" in shelf.kept


def test_a_job_that_came_to_name_it_meanwhile_keeps_it(
    desk: Desk, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_job(desk)
    listing = shelf.staged_content

    def staged_meanwhile() -> Iterator[StagedContent]:
        found = list(listing())
        job = desk.submit(plan(providers=(NAME,), name="another"))
        staged = Staged(True, "0" * 64, {"rows": "file-aaaa"})
        desk.context.change_job(desk.job(job), staged=staged_text(staged, "acct"))
        return iter(found)

    monkeypatch.setattr(shelf, "staged_content", staged_meanwhile)

    assert reaped(desk, yes=True).contents == []
    assert "file-aaaa" in shelf.kept


@pytest.mark.parametrize(
    ("content", "is_listed"),
    [
        ({"sha256": "e" * 64}, False),
        ({"sha256": None, "name": "support-train.jsonl", "file": "file-theirs"}, False),
        ({"sha256": None, "name": "ft-zzz999-rows.jsonl", "file": "file-theirs"}, False),
        ({"sha256": "a" * 64, "name": "ft-zzz999-rows.jsonl", "file": "file-theirs"}, False),
        ({"sha256": None, "name": "ft-abc123-rows.jsonl", "file": "file-ours"}, True),
    ],
    ids=["an unknown hash", "a name like any", "another's mark", "our hash under another's mark", "our mark"],
)
def test_only_what_is_ours_is_listed(
    desk: Desk, shelf: Shelf, content: Mapping[str, str | None], *, is_listed: bool
) -> None:
    old_job(desk)
    shelf.kept.clear()
    file = shelf.put(**content)  # type: ignore[arg-type]  # the table above has the types
    desk.clock.advance(OLD.total_seconds())

    assert (file in listed(desk)) is is_listed


def test_a_provider_that_fails_is_said_on_the_content(
    desk: Desk, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_content: StagedContent) -> None:
        raise ProviderUnavailableError("503", provider=NAME, operation="discard")

    old_job(desk)
    monkeypatch.setattr(shelf, "discard", refuse)

    report = reaped(desk, yes=True)

    assert ([one.left for one in report.contents], report.left) == (["503"], 1)


def test_the_hashes_of_a_bundle_are_told_by_its_plan(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    from ftorch.core.files import sha256_file
    from ftorch.jobs.bundle import make_bundle

    folder = tmp_path_factory.mktemp("rows")
    (folder / "train.jsonl").write_text("{}\n")
    one = plan(dataset=facts(train_sha256=sha256_file(folder / "train.jsonl")))

    bundle = make_bundle(one, folder)

    assert hashes_of(one) == {*bundle.files.values(), bundle.sha256}
