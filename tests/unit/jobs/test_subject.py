"""The job that a person means."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.errors import StoreError
from ftorch.jobs.subject import subject
from unit.jobs import rows
from unit.jobs.desk import Desk


def test_a_plan_of_another_version_is_said_with_what_to_do(desk: Desk, tmp_path: Path) -> None:
    desk.context.store.write(lambda tx: tx.insert_job(rows.job(), '{"version": 99}'))

    with pytest.raises(StoreError, match="the plan of job job-1 cannot be read") as caught:
        subject(desk.context.store, "job-1", tmp_path)

    assert caught.value.hint == "use the version that submitted it, or cancel it there"
