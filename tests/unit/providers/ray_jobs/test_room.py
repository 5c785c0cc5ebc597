from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.providers.ray_jobs.inside import room
from ftorch.providers.ray_jobs.inside.settings import Settings


@pytest.mark.parametrize(
    ("use_gpu", "has", "words"),
    [
        (True, {"CPU": 8.0, "GPU": 1.0, "memory": 9e9}, "2 workers with a GPU each found no room within 15 minutes"),
        (False, {"CPU": 1.0}, "2 workers with a CPU each found no room within 15 minutes"),
    ],
)
def test_workers_without_room_say_what_they_asked_and_what_there_is(
    use_gpu: bool, has: dict[str, float], words: str
) -> None:
    settings = Settings("ft-1", Path(), 2, use_gpu=use_gpu, changes={}, resume_from=None, output_uri=None)

    said = room.none_found(settings, room.TRIES * room.TRY_S, has)

    assert said.startswith(words)
    assert f"the cluster has {has['CPU']:g} CPU, {has.get('GPU', 0):g} GPU" in said
