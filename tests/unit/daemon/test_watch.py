from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ftorch.core.errors import MissingExtraError, SettingsError, UsageError
from ftorch.daemon.watch import metrics_port, serve_metrics
from ftorch.jobs.context import Context
from ftorch.jobs.opening import open_context


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    opened = open_context({"FTORCH_HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path)}, tmp_path)
    yield opened
    opened.store.close()


def test_nothing_is_served_unless_somebody_asks(context: Context, tmp_path: Path) -> None:
    assert serve_metrics(context, tmp_path) is None


def test_the_settings_say_the_port_and_the_variable_wins(tmp_path: Path) -> None:
    (tmp_path / "ftorch.toml").write_text("[daemon]\nmetrics_port = 9464\n")
    env = {"XDG_CONFIG_HOME": str(tmp_path)}

    assert metrics_port(env, tmp_path) == 9464
    assert metrics_port({**env, "FTORCH_METRICS_PORT": "9999"}, tmp_path) == 9999
    assert metrics_port({**env, "FTORCH_METRICS_PORT": ""}, tmp_path) == 9464


@pytest.mark.parametrize("text", ["yes", "-1", "65536", "94 64", "²"])
def test_what_is_not_a_port_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="FTORCH_METRICS_PORT is not a port"):
        metrics_port({"FTORCH_METRICS_PORT": text}, tmp_path)


def test_a_port_in_the_settings_is_checked_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "ftorch.toml").write_text("[daemon]\nmetrics_port = 70000\n")

    with pytest.raises(SettingsError, match=r"ftorch.toml:2: daemon.metrics_port"):
        metrics_port({"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path)


def test_a_missing_extra_names_the_command_that_installs_it(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftorch.daemon.watch.find_spec", lambda _name: None)
    asked = replace(context, env={**context.env, "FTORCH_METRICS_PORT": "0"})

    with pytest.raises(MissingExtraError) as caught:
        serve_metrics(asked, tmp_path)

    assert "pip install -e '.[metrics]'" in (caught.value.hint or "")
    assert importlib.util.find_spec("prometheus_client"), "the test itself must not depend on what is installed"
