"""Adapters as they are listed, also those whose folders are not here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftorch.core.errors import ArtifactError
from ftorch.jobs.adapter_views import adapter_view, adapter_views
from ftorch.jobs.versions import promote
from unit.schedule.bench import Bench, bench_in


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """`support/1`, in service, whose folder has gone, and `support/2`."""
    with bench_in(tmp_path) as made:
        first, _ = (made.trained(name, train=range(10), held_out=range(10, 20)) for name in ("a", "b"))
        promote(made.context, "support/1")
        shutil.rmtree(first.adapter or "")
        yield made


def test_an_adapter_whose_folder_is_gone_keeps_no_other_from_being_listed(bench: Bench) -> None:
    views = {view.job: view for view in adapter_views(bench.context.store)}

    assert {job: (view.version, view.in_service, view.is_here) for job, view in views.items()} == {
        "a": ("support/1", True, False),
        "b": ("support/2", False, True),
    }
    assert views["a"].path == bench.context.home.adapters / "a"
    assert (views["a"].receipt, views["a"].lineage) == ({}, None)
    assert views["b"].lineage is not None


def test_an_adapter_that_is_asked_for_and_is_not_here_is_an_error(bench: Bench) -> None:
    with pytest.raises(ArtifactError, match="has no readable receipt"):
        adapter_view(bench.context.store, "support/1")
