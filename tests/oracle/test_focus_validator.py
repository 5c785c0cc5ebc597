"""The public FOCUS validator on a bill with usage, a refund, a credit, tax and a correction of a closed month.

It is old and has requirements that are older still, so it lives in an environment of its own. It exits 0 whatever it
finds, so its words count; it reads its currency list from a path relative to its packages' folder, so it runs there;
and it asks for columns of the specification's drafts, which `--validator-columns` adds.
"""

from __future__ import annotations

import subprocess
import venv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ftorch.costs.focus import focus_rows, write_csv
from ftorch.costs.report import Scope
from ftorch.jobs.billing.close import close
from ftorch.jobs.billing.pull import pull
from unit.jobs.billing.quarter import LAG, SETTLED, START, charge_ended, draw, move_to, office

_PACKAGES = (
    "focus-validator==1.0.0",
    "multimethod<2",  # pandera 0.17, which the validator pins, imports a name that 2.0 took away
)
_LONGEST_S = 600.0
SUCCEEDED, FAILED = "Validation succeeded.", "Validation failed!"


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment that has the validator."""
    folder = tmp_path_factory.mktemp("validator") / "venv"
    venv.create(folder, with_pip=True)
    words = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *_PACKAGES]
    subprocess.run(words, check=True, timeout=_LONGEST_S)
    return folder


def said(validator: Path, file: Path) -> str:
    """What the validator says about a file."""
    [packages] = (validator / "lib").glob("python3.*/site-packages")
    command = [str(validator / "bin" / "focus-validator"), "--data-file", str(file), "--validate-version", "1.0"]
    done = subprocess.run(command, cwd=packages, capture_output=True, text=True, timeout=_LONGEST_S, check=True)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same quarter as FOCUS 1.0 and 1.2, with the validator's columns, and 1.0 without them."""
    folder = tmp_path_factory.mktemp("focus")
    quarter = draw(2, jobs=60)
    with office(folder, quarter) as context:
        before = START
        for day in range(12, 140, 12):
            move_to(context, START + timedelta(days=day))
            charge_ended(context, quarter, before)
            before = context.clock.now()
            pull(context, ("alpha", "beta"), is_asked=True)
            if context.clock.now() > datetime(2026, 8, 1, tzinfo=UTC) + LAG:
                close(context, "2026-07", force=True, note="every month")
        scope = Scope(as_of=SETTLED)
        written = {}
        for name, version, for_validator in (("1.0", "1.0", True), ("1.2", "1.2", True), ("plain", "1.0", False)):
            written[name] = folder / f"{name}.csv"
            with written[name].open("w", newline="") as stream:
                rows = focus_rows(context.store.read(), scope, version=version, for_validator=for_validator)
                write_csv(stream, version, rows, for_validator=for_validator)
    return written


@pytest.mark.timeout(_LONGEST_S)
@pytest.mark.parametrize("version", ["1.0", "1.2"])
def test_the_validator_says_that_it_succeeded(validator: Path, files: dict[str, Path], version: str) -> None:
    text = files[version].read_text()
    kinds = ("Usage", "Credit", "Tax", "Adjustment", "Correction")

    assert [kind for kind in kinds if f",{kind}," not in text] == []
    words = said(validator, files[version])
    assert SUCCEEDED in words, words
    assert FAILED not in words


@pytest.mark.timeout(_LONGEST_S)
@pytest.mark.parametrize(
    ("before", "after"),
    [(",USD,", ",XXA,"), (",Usage-Based,", ",Sometimes,"), ("AI and Machine Learning", "Magic"), ("T00:00:00Z", "")],
)
def test_the_validator_would_have_said_what_is_wrong(
    validator: Path, files: dict[str, Path], tmp_path: Path, before: str, after: str
) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text(files["1.0"].read_text().replace(before, after))

    assert FAILED in said(validator, broken)


@pytest.mark.timeout(_LONGEST_S)
def test_without_its_own_columns_the_validator_fails(validator: Path, files: dict[str, Path]) -> None:
    assert FAILED in said(validator, files["plain"])
