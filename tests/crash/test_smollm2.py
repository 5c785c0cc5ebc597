"""The same law on real weights: SmolLM2-135M, killed inside a checkpoint and between two steps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.moments import Moment
from crash.test_kills import HOOK, adapter_of, check_paid_time
from e2e.shell import MANIFEST, Shell, furnish

_SECONDS = 900.0
SMALL = MANIFEST.replace("builtin:tiny", "builtin:smollm2-135m").replace("epochs: 4", "max_steps: 5")
SMALL = SMALL.replace("save_every_steps: 5", "save_every_steps: 2").replace("5.0e-3", "1.0e-3")
MOMENTS = (
    Moment("checkpoint", "trainer", "audit:os.rename", ".complete", 2),
    Moment("step", "trainer", "before", "ftorch.trainer.callbacks:Reporter.on_step_end", 4),
)


def furnished(folder: Path, bases: Path | None = None) -> Shell:
    shell = furnish(folder)
    (folder / "job.yaml").write_text(SMALL)
    if bases is not None:
        shell.home.mkdir()
        (shell.home / "bases").symlink_to(bases)
    return shell


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = furnished(tmp_path_factory.mktemp("undisturbed"))
    done = shell.run("submit", "job.yaml", "--wait", longest_s=_SECONDS)
    assert done.returncode == 0, done.stderr
    yield shell
    shutil.rmtree(shell.home / "bases")


@pytest.mark.timeout(_SECONDS)
@pytest.mark.parametrize("moment", MOMENTS, ids=[moment.kind for moment in MOMENTS])
def test_real_weights_resume_to_the_same_bytes(moment: Moment, tmp_path: Path, undisturbed: Shell) -> None:
    shell = furnished(tmp_path, undisturbed.home / "bases")
    mark = tmp_path / "killed"
    crash = {"PYTHONPATH": str(HOOK), "FTORCH_CRASH": moment.order, "FTORCH_CRASH_MARK": str(mark)}

    done = shell.run("submit", "job.yaml", "--wait", extra=crash, longest_s=_SECONDS)

    assert done.returncode == 0, done.stderr
    assert mark.exists()
    assert len(shell.json("jobs")[0]["runs"]) == 2
    assert adapter_of(shell) == adapter_of(undisturbed)
    check_paid_time(shell)
    shell.end_all()
