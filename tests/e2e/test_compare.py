"""`ftorch plan --compare`, `provider: cheapest` and `ftorch providers prices` through the installed command."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from e2e.shell import MANIFEST, Shell, colours, furnish, write_rows


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = furnish(tmp_path)
    write_rows(made.folder / "rows.jsonl", colours(120))
    (made.folder / "job.yaml").write_text(MANIFEST)
    return made


def offers(shell: Shell, *words: str) -> dict[str, dict[str, object]]:
    return {one["provider"]: one for one in shell.json("plan", "job.yaml", "--compare", *words)["offers"]}


def test_a_manifest_is_compared_without_credentials_and_without_a_trace(shell: Shell) -> None:
    found = offers(shell)

    assert found["local"]["state"] == "ready"
    assert found["anyscale"]["refused"]
    assert found["lambda"]["amount"]
    assert found["modal"]["amount"]
    assert found["anyscale"]["is_stale"] is True
    assert not (shell.home / "ftorch.db").exists()


def test_the_table_names_source_date_and_staleness(shell: Shell) -> None:
    done = shell.run("plan", "job.yaml", "--compare")

    assert done.returncode == 0, done.stderr
    assert "(STALE price)" in done.stdout
    assert "2026-09-18" in done.stderr
    assert "anyscale: refused: provider.anyscale.output_uri is missing" in done.stderr
    assert "nothing was sent" in done.stderr


@pytest.mark.parametrize(
    ("words", "shape"), [(("plan", "job.yaml", "--compare"), "compare"), (("providers", "prices"), "prices")]
)
def test_the_json_has_the_shape_of_its_schema(shell: Shell, words: tuple[str, ...], shape: str) -> None:
    schema = json.loads(shell.run("schema", "output", shape).stdout)

    jsonschema.validate(shell.json(*words), schema)


def test_live_without_compare_is_refused(shell: Shell) -> None:
    refused = shell.run("plan", "job.yaml", "--live")

    assert refused.returncode == 2
    assert "--compare" in refused.stderr


def test_cheapest_is_frozen_in_the_plan_with_its_reason(shell: Shell) -> None:
    (shell.folder / "job.yaml").write_text(MANIFEST.replace("provider: {name: local}", "provider: {name: cheapest}"))

    done = shell.run("plan", "job.yaml")
    answer = shell.json("plan", "job.yaml")

    assert "provider: cheapest: local at " in done.stderr
    assert answer["plan"]["providers"] == ["local"]
    assert answer["picked"]["rule"] == "cheapest"


def test_without_a_price_cheapest_says_what_is_missing(shell: Shell) -> None:
    (shell.folder / "ftorch.toml").unlink(missing_ok=True)
    (shell.folder / "job.yaml").write_text(MANIFEST.replace("provider: {name: local}", "provider: {name: cheapest}"))

    refused = shell.run("plan", "job.yaml")

    assert refused.returncode == 3
    assert "local: names no price" in refused.stderr


def test_a_rule_stands_alone(shell: Shell) -> None:
    text = MANIFEST.replace("provider: {name: local}", "provider: {name: [local, cheapest]}")
    (shell.folder / "job.yaml").write_text(text)

    refused = shell.run("plan", "job.yaml")

    assert refused.returncode == 3
    assert "stands alone" in refused.stderr


def test_the_price_book_is_listed_with_the_users_own(shell: Shell) -> None:
    with (shell.folder / "ftorch.toml").open("a") as settings:
        settings.write('\n[prices.modal.H100]\nprice = "2.00 USD"\nunit = "hour"\nsource = "deal"\ndate = 2026-11-01\n')

    found = {one["name"]: one for one in shell.json("providers", "prices", "modal")}

    assert found["H100"]["rate"] == "2.00"
    assert found["H100"]["source"] == "ftorch.toml: deal"
    assert found["T4"]["gpu"] == "T4"


def test_a_refresh_tells_who_has_no_catalogue(shell: Shell) -> None:
    done = shell.run("providers", "prices", "--refresh")

    assert "local: has no catalogue" in done.stderr
