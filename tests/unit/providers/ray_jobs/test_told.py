"""What the driver of several workers tells of them, with the one that writes on another machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftorch.providers.ray_jobs.inside import status as inside
from ftorch.providers.ray_jobs.inside.mirror import Mirror
from ftorch.providers.ray_jobs.inside.settings import Settings
from ftorch.providers.ray_jobs.inside.status import Pace, Status
from unit.providers.ray_jobs.cluster import KEY, checkpoint

_T = "2026-11-28T03:00:00+00:00"


def _events(*names: str, **more: Any) -> str:
    return "".join(json.dumps({"t": _T, "event": name, **more}) + "\n" for name in names)


class Driver:
    """The driver's machine, and a storage in which the writer leaves its files."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.here, self.bucket = folder / "here", folder / "bucket"
        uri = f"file://{self.bucket}"
        settings = Settings(KEY, folder, workers, use_gpu=False, changes={}, resume_from=None, output_uri=uri)
        for place in (self.here, self.bucket / KEY):
            place.mkdir(parents=True)
        self.mirror = Mirror(uri)
        self.status = Status(settings, self.here, self.mirror)

    def writer_leaves(self, **files: str) -> None:
        for name, content in files.items():
            (self.bucket / KEY / f"{name}.{'jsonl' if name == 'events' else 'json'}").write_text(content)

    def end(self, exit_code: int) -> int:
        with self.status:
            pass
        return self.status.end(exit_code)

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.bucket / KEY / "status.json").read_text())
        return found


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


def test_a_run_that_ended_elsewhere_has_not_failed_because_it_began_here(driver: Driver) -> None:
    (driver.here / "events.jsonl").write_text(_events("started", "checkpoint"))
    driver.writer_leaves(events=_events("started", "lost", "started", "succeeded"), result='{"trained_tokens": 7}')

    assert driver.status.trainers_exit_code() == 0


@pytest.mark.parametrize(
    ("events", "code"),
    [
        (_events("started", "failed", exit_code=65), 65),
        (_events("started", "interrupted"), 75),
        (_events("started", "train_begin"), None),
        ("", None),
    ],
)
def test_the_writers_last_word_decides(driver: Driver, events: str, code: int | None) -> None:
    driver.writer_leaves(events=events)

    assert driver.status.trainers_exit_code() == code


def test_a_success_whose_result_never_arrived_is_none(driver: Driver) -> None:
    driver.writer_leaves(events=_events("started", "succeeded"))

    assert driver.status.trainers_exit_code() is None


def test_of_one_worker_the_folder_here_is_read(tmp_path: Path) -> None:
    driver = Driver(tmp_path, workers=1)
    (driver.here / "events.jsonl").write_text(_events("started", "interrupted"))
    driver.writer_leaves(events=_events("started", "succeeded"), result="{}")

    assert driver.status.trainers_exit_code() == 75


def test_a_storage_that_does_not_answer_leaves_the_trainers_end_unknown(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError("no route")

    monkeypatch.setattr(driver.mirror, "read", fail)
    monkeypatch.setattr("ftorch.providers.ray_jobs.inside.status._WAITS_S", (0.0, 0.0))

    assert driver.status.trainers_exit_code() is None
    assert "no route" in capsys.readouterr().out


def test_the_driver_copies_its_status_and_nothing_that_an_earlier_writer_left_here(driver: Driver) -> None:
    (driver.here / "events.jsonl").write_text(_events("started"))
    (driver.here / "heartbeat.json").write_text('{"step": 1}')
    checkpoint(driver.here, 4)
    driver.writer_leaves(events=_events("started", "succeeded"), heartbeat='{"step": 12}', result='{"files": {}}')

    assert driver.end(0) == 0

    assert sorted(path.name for path in (driver.bucket / KEY).iterdir()) == [
        "events.jsonl",
        "heartbeat.json",
        "result.json",
        "status.json",
    ]
    assert (driver.bucket / KEY / "heartbeat.json").read_text() == '{"step": 12}'


def test_the_status_tells_what_the_writer_last_copied(driver: Driver) -> None:
    driver.writer_leaves(events=_events("started", "succeeded"), heartbeat='{"step": 12}', result='{"files": {}}')

    driver.end(0)

    told = driver.told()
    assert [event["event"] for event in told["events"]] == ["started", "succeeded"]
    assert (told["heartbeat"], told["result"]) == ({"step": 12}, {"trained_tokens": None})


def test_why_nothing_came_of_a_run_is_told_after_the_trainers_last_event(driver: Driver) -> None:
    driver.writer_leaves(events=_events("started", "train_begin"))
    driver.status.trainers_exit_code()

    driver.end(driver.status.failed("no room", 70, "workers"))

    assert [event["event"] for event in driver.told()["events"]] == ["started", "failed"]
    assert (driver.bucket / KEY / "events.jsonl").read_text() == _events("started", "train_begin")


def test_a_copy_is_due_at_each_new_checkpoint_and_every_ten_seconds(tmp_path: Path) -> None:
    pace = Pace(tmp_path)
    quiet = [pace.is_due() for _ in range(5)]
    checkpoint(tmp_path, 4)

    assert quiet == [False, False, False, False, True]
    assert [pace.is_due(), pace.is_due()] == [True, False]
    assert inside.BEAT_S == 2.0
