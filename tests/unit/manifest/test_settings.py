from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.errors import SettingsError
from ftorch.core.money import Money
from ftorch.manifest.settings import Settings, load_settings

FULL = """\
required_labels = ["team"]

[local]
rate = "0.50 USD"

[ssh]
rate = "0.00 USD"

[[budgets]]
label = "team=support"
limit = "500.00 USD"

[[budgets]]
period = "week"
limit = "50.00 USD"

[prices.modal.H100]
price = "0.001097 USD"
unit = "second"
source = "price list"
date = 2026-07-01

[store]
url = "postgresql://db/ftorch"

[[notify]]
type = "slack"
url = "env:SLACK_URL"

[[caps]]
provider = "together"
runs = 5
"""


def settings(folder: Path, text: str) -> Settings:
    (folder / "ftorch.toml").write_text(text)
    return load_settings(folder, {"XDG_CONFIG_HOME": str(folder / "none")})


def user_and_project(folder: Path, user: str, project: str) -> Settings:
    (folder / "config" / "ftorch").mkdir(parents=True)
    (folder / "config" / "ftorch" / "ftorch.toml").write_text(user)
    (folder / "ftorch.toml").write_text(project)
    return load_settings(folder, {"XDG_CONFIG_HOME": str(folder / "config")})


def test_no_file_means_defaults(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()

    assert load_settings(tmp_path, {"XDG_CONFIG_HOME": str(tmp_path)}) == Settings()


def test_every_key_is_read(tmp_path: Path) -> None:
    found = settings(tmp_path, FULL)

    assert [(rule.label, rule.period, str(rule.limit)) for rule in found.budgets] == [
        ("team=support", "month", "500.00 USD"),
        (None, "week", "50.00 USD"),
    ]
    assert [(cap.provider, cap.label, cap.runs) for cap in found.caps] == [("together", None, 5)]
    assert (found.store.url, found.notify[0].url) == ("postgresql://db/ftorch", "env:SLACK_URL")
    assert found.prices["modal"]["H100"].unit == "second"


def test_a_declared_rate_is_exact(tmp_path: Path) -> None:
    found = settings(tmp_path, '[local]\nrate = "0.10 USD"\n')

    assert found.declared_rates() == {"local": Money.parse("0.10 USD")}


def test_a_rate_of_zero_is_a_price_and_not_a_missing_one(tmp_path: Path) -> None:
    assert settings(tmp_path, '[local]\nrate = "0.00 USD"\n').declared_rates()["local"].amount == 0


def test_the_file_is_found_from_a_folder_below(tmp_path: Path) -> None:
    settings(tmp_path, 'required_labels = ["team"]\n')
    (tmp_path / "a" / "b").mkdir(parents=True)

    assert load_settings(tmp_path / "a" / "b", {"XDG_CONFIG_HOME": "/none"}).required_labels == ("team",)


def test_a_file_above_the_repository_is_not_the_projects(tmp_path: Path) -> None:
    settings(tmp_path, 'required_labels = ["team"]\n')
    (tmp_path / "repository" / ".git").mkdir(parents=True)

    assert load_settings(tmp_path / "repository", {"XDG_CONFIG_HOME": "/none"}) == Settings()


def test_a_file_above_the_users_home_is_not_the_projects(tmp_path: Path) -> None:
    settings(tmp_path, 'required_labels = ["team"]\n')
    (tmp_path / "home" / "work").mkdir(parents=True)

    env = {"XDG_CONFIG_HOME": "/none", "HOME": str(tmp_path / "home")}
    assert load_settings(tmp_path / "home" / "work", env) == Settings()


def test_the_project_wins_key_by_key_over_the_user(tmp_path: Path) -> None:
    found = user_and_project(
        tmp_path,
        user='required_labels = ["team"]\n[local]\nrate = "9.00 USD"\n',
        project='[local]\nrate = "1.00 USD"\n',
    )

    assert found.declared_rates() == {"local": Money.parse("1.00 USD")}
    assert found.required_labels == ("team",)


def test_two_files_may_share_a_table(tmp_path: Path) -> None:
    listed = "unit = 'second'\nsource = 'list'\ndate = 2026-07-01\n"
    found = user_and_project(
        tmp_path,
        user=f"[prices.modal.H100]\nprice = '0.001 USD'\n{listed}",
        project=f"[prices.modal.H200]\nprice = '0.002 USD'\n{listed}",
    )

    assert {name: str(price.price) for name, price in found.prices["modal"].items()} == {
        "H100": "0.001 USD",
        "H200": "0.002 USD",
    }


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("price = '0.001 USD'", "price needs a unit"),
        ("unit = 'hour'", "give price and unit, or input and output"),
        ("input = '0.15 USD'", "input needs output"),
        ("price = '1.00 USD'\nunit = 'hour'\ninput = '0.15 USD'", "give price and unit, or input and output"),
    ],
)
def test_a_price_has_one_form(tmp_path: Path, keys: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        settings(tmp_path, f"[prices.modal.H100]\n{keys}\nsource = 'list'\ndate = 2026-07-01\n")


def test_a_price_without_a_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"prices\.modal\.H100\.source"):
        settings(tmp_path, "[prices.modal.H100]\nprice = '1.00 USD'\nunit = 'hour'\ndate = 2026-07-01\n")


def test_every_key_knows_the_file_that_it_came_from(tmp_path: Path) -> None:
    found = user_and_project(
        tmp_path,
        user='required_labels = ["team"]\n[local]\nrate = "9.00 USD"\n',
        project='[local]\nrate = "1.00 USD"\n',
    )

    assert found.files() == {
        "local.rate": tmp_path / "ftorch.toml",
        "required_labels": tmp_path / "config" / "ftorch" / "ftorch.toml",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[local]\nrtae = 1\n", ":2: local.rtae: not a known key (did you mean 'rate'?)"),
        ("[locl]\nrate = '1 USD'\n", ":1: locl: not a known key (did you mean 'local'?)"),
        ("[local]\nrate = 0.5\n", ":2: local.rate: 0.5 has no currency; write it as 0.5 USD"),
        ("[local]\nrate = '1 USD'\n[ssh]\nrate = 5\n", ":4: ssh.rate: 5 has no currency; write it as 5 USD"),
        ("local.rate = 5\n", ":1: local.rate: 5 has no currency"),
        ("local = {rate = 5}\n", ":1: local.rate: 5 has no currency"),
        ("local = 5\n", ":1: local: must be a block of keys, not 5"),
        ("[[budgets]]\nlimit = '1 USD'\n[[budgets]]\nperiod = 'day'\n", ":3: budgets[1].limit: is required"),
        ("[[budgets]]\nlimit = '1 USD'\nlabel = 'team'\n", ":3: budgets[0].label: must be key=value, such as"),
        ("settings = 1\n", ":1: settings: not a known key"),
        ("[local]\nstr = 1\n", ":2: local.str: not a known key"),
        ("[[caps]]\nruns = 0\n", ":2: caps[0].runs: must be at least 1, not 0"),
        ("[[caps]]\nruns = true\n", ":2: caps[0].runs: must be a whole number, not true"),
        ("[local\n", ":1: is not TOML: "),
        ("a = 1\na = 2\n", ":2: is not TOML: cannot overwrite a value"),
        ("[[notify]]\ntype = 'slack'\nurl = 'https://hooks/secret'\n", ":3: notify[0].url: must name a place"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, text)

    assert caught.value.message.startswith(f"{tmp_path}/ftorch.toml{expected}")


def test_two_channels_with_one_address_are_refused_for_the_first_would_get_nothing(tmp_path: Path) -> None:
    channel = "[[notify]]\ntype = 'slack'\nurl = 'env:SLACK_URL'\non = ['{}']\n"

    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, channel.format("failed") + channel.format("bill"))

    assert caught.value.message == (
        f"{tmp_path}/ftorch.toml:5: notify[1]: is 'slack env:SLACK_URL', as notify[0] is: "
        "write one [[notify]] with the `on` of both"
    )


def test_channels_that_differ_in_type_or_address_stay_apart(tmp_path: Path) -> None:
    slack = "[[notify]]\ntype = 'slack'\nurl = 'env:{}'\n"
    webhook = "[[notify]]\ntype = 'webhook'\nurl = 'env:A'\nsecret = 'env:KEY'\n"

    assert len(settings(tmp_path, slack.format("A") + slack.format("B") + webhook).notify) == 3


def test_an_address_that_was_written_out_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, "[[notify]]\ntype = 'slack'\nurl = 'https://hooks/secret'\n")

    assert "hooks" not in caught.value.message


def test_all_mistakes_of_a_file_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, "nope = 1\n[local]\nrate = 5\n[[caps]]\nruns = 0\n")

    assert [fault.line for fault in caught.value.faults] == [1, 3, 5]


def test_a_file_that_is_not_utf8_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "ftorch.toml").write_bytes(b"# caf\xe9\n")

    with pytest.raises(SettingsError, match="is not UTF-8"):
        load_settings(tmp_path, {"XDG_CONFIG_HOME": "/none"})
