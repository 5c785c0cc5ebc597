"""What of Modal needs no client: credentials, machines and their prices, tags, images; and that nothing loads it."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.errors import CredentialsError, RunRejectedError
from ftorch.costs.book.listed import price_book
from ftorch.manifest.schema import BaseModelRef, Resources
from ftorch.providers.modal import machines, names
from ftorch.providers.modal.bills import divided
from ftorch.providers.modal.cargo import cargo
from ftorch.providers.modal.image import PINS
from ftorch.providers.modal.machines import Machine
from ftorch.providers.modal.settings import Settings
from unit.plans import plan

ROOT = Path(__file__).parents[3]
_TOKEN = {"MODAL_TOKEN_ID": "ak-1", "MODAL_TOKEN_SECRET": "as-1"}


@pytest.mark.parametrize(
    "code",
    [
        "import ftorch",
        "import ftorch.cli.main",
        "import ftorch.daemon.loop",
        f"from ftorch.providers.modal.provider import ModalProvider as M; M.from_env({_TOKEN!r}).close()",
        "from ftorch.manifest.credentials import environment; from ftorch.providers.status import *\n"
        "[provider_status(name, environment({}, __import__('pathlib').Path('/'))) for name in provider_names()]",
    ],
)
def test_modal_is_loaded_by_those_who_call_it_alone(code: str) -> None:
    asked = f"import sys\n{code}\nassert 'modal' not in sys.modules and 'grpclib' not in sys.modules, 'it is loaded'"

    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["providers"], ["plan", "jobs/modal-dpo.yaml"]])
def test_a_command_that_sends_nothing_does_not_load_modal(words: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys\nsys.argv = ['ftorch', *{words!r}]\nfrom ftorch.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint('LOADED', 'modal' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"FTORCH_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "LOADED False" in done.stdout, done.stderr


def test_variables_count_before_the_login_file(tmp_path: Path) -> None:
    (tmp_path / ".modal.toml").write_text('[work]\ntoken_id = "ak-file"\ntoken_secret = "as-file"\nactive = true\n')

    assert Settings.from_env({"HOME": str(tmp_path)}).token_id == "ak-file"
    assert Settings.from_env({"HOME": str(tmp_path), **_TOKEN}).token_id == "ak-1"


def test_the_profile_that_is_asked_for_counts(tmp_path: Path) -> None:
    path = tmp_path / "login.toml"
    path.write_text(
        '[work]\ntoken_id = "ak-w"\ntoken_secret = "as-w"\nactive = true\n'
        '[own]\ntoken_id = "ak-o"\ntoken_secret = "as-o"\nenvironment = "dev"\n'
    )

    found = Settings.from_env({"MODAL_CONFIG_PATH": str(path), "MODAL_PROFILE": "own"})

    assert (found.token_id, found.environment) == ("ak-o", "dev")
    assert "as-o" not in repr(found)


@pytest.mark.parametrize("missing", ["MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"])
def test_half_a_token_is_named(missing: str, tmp_path: Path) -> None:
    env = {name: value for name, value in _TOKEN.items() if name != missing}

    with pytest.raises(CredentialsError, match=missing) as caught:
        Settings.from_env({"HOME": str(tmp_path), **env})

    assert "~/.modal.toml" in caught.value.message


def test_a_login_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / ".modal.toml").write_text("[work\n")

    with pytest.raises(CredentialsError, match=r"\.modal\.toml cannot be read"):
        Settings.from_env({"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("gpu", "cores", "memory_gib", "expected"),
    [
        # The notes' table: 4 cores and 32 GiB on H100 cost 5.285 USD in a sandbox, 3.834 on A100-80GB, 1.926 on T4.
        ("H100", 4, 32, "5.2856"),
        ("A100-80GB", 4, 32, "3.8356"),
        ("T4", 4, 32, "1.9256"),
        ("H100", 1, 16, "4.4759"),
    ],
)
def test_a_rate_is_gpu_cores_and_memory(gpu: str, cores: int, memory_gib: int, expected: str) -> None:
    assert Machine(gpu, cores, memory_gib).rate({}) == Decimal(expected)


def test_a_machine_survives_its_tag() -> None:
    machine = Machine("A100-80GB", 2, 48)

    assert Machine.parse(machine.tag) == machine
    assert Machine.parse("something else") is None


@pytest.mark.parametrize(
    ("parameters", "quantize", "cheapest"),
    [
        (135_000_000, None, "T4"),
        (8_200_000_000, None, "L4"),
        (14_700_000_000, None, "L40S"),
        (32_800_000_000, None, "RTX-PRO-6000"),
        (32_800_000_000, "4bit", "L40S"),
        (None, None, "A100-80GB"),
    ],
)
def test_the_cheapest_gpu_that_a_base_model_fits_on_is_first(
    parameters: int | None, quantize: str | None, cheapest: str
) -> None:
    method = plan().method.model_copy(update={"quantize": quantize})

    places = machines.placements(plan(parameters=parameters, method=method), {})

    assert places[0].name == cheapest


def test_a_base_model_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(RunRejectedError, match="more than any at modal has"):
        machines.placements(plan(parameters=235_000_000_000, base_model=BaseModelRef(id="x/y")), {})


def test_named_gpus_are_walked_cheapest_first_under_modals_names() -> None:
    places = machines.placements(plan(resources=Resources(gpu=("H100", "A10G", "A100"))), {})

    assert [place.name for place in places] == ["A10", "A100-40GB", "A100-80GB", "H100"]
    assert [place.gpu for place in places] == [place.name for place in places]


def test_the_list_agrees_with_the_price_book() -> None:
    book = {one.name: one for one in price_book({}).of("modal")}

    smallest = plan(parameters=None, resources=Resources(gpu=tuple(book)))

    listed = {place.name: place.rate for place in machines.placements(smallest, {})}

    assert listed.keys() == book.keys()
    for name, rate in listed.items():
        assert rate is not None
        assert abs(rate / book[name].rate - 1) < Decimal("0.01")


def test_labels_become_tags_that_modal_takes() -> None:
    assert names.tags({"team": "support & co", "cost centre": "4711", "owner": ""}) == {
        "team": "support-co",
        "cost-centre": "4711",
    }


def test_an_app_is_one_installation_and_label_set() -> None:
    key = "ft-abc123-01m6bfp5g0beet6tsct9vpvzav"

    assert names.app_name(key, {}) == "ftorch-abc123"
    assert names.app_name(key, {"a": "1", "b": "2"}) == names.app_name(key, {"b": "2", "a": "1"})
    assert names.is_app_of(names.app_name(key, {"a": "1"}), "abc123")
    assert not names.is_app_of("ftorch-abc1234", "abc123")


def test_a_row_is_divided_by_use_and_never_over() -> None:
    one, two = "ft-abc123-01m6bfp5g0beet6tsct9vpvzav", "ft-abc123-01m6bfp5g0beet6tsct9vpvzaw"

    assert divided(Decimal(10), {one: Decimal(3), two: Decimal(4), "nightly": Decimal(9)}) == {
        one: Decimal(3),
        two: Decimal(4),
    }
    assert divided(Decimal(7), {one: Decimal(6), two: Decimal(8)}) == {one: Decimal(3), two: Decimal(4)}
    assert divided(Decimal(-1), {one: Decimal(6)}) == {}


def test_the_image_has_what_ftorch_is_tested_with() -> None:
    pinned = {line.lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}

    assert [pin for pin in PINS if pin.lower() not in pinned] == []


def test_the_same_code_travels_under_the_same_name() -> None:
    cargo.cache_clear()
    first = cargo()
    cargo.cache_clear()

    assert cargo() == first
    assert set(first[1]) == {"trainer.zip", "runner.py"}


def test_the_trainer_travels_alone(tmp_path: Path) -> None:
    """Outside of this installation, with nothing but the zip in its path, it answers for itself."""
    archive = tmp_path / "trainer.zip"
    archive.write_bytes(cargo()[1]["trainer.zip"])

    done = subprocess.run(
        [sys.executable, "-S", "-m", "ftorch.trainer", "train", "missing.json"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 64, done.stderr
    assert "missing.json" in done.stderr
