"""What keeps a daemon at work: texts that others read."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest

from ftorch.core.errors import UsageError
from ftorch.core.paths import Home
from ftorch.daemon.install import container_file, refuse_anothers, systemd_unit, unit_file

ROOT = Path(__file__).parents[3]


def unit(folder: str = "/srv/project") -> ConfigParser:
    parsed = ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are in mixed case
    parsed.read_string(systemd_unit(Home(Path(folder) / "state"), Path(folder), {"HOME": "/home/me"}))
    return parsed


def test_the_unit_works_in_the_project_and_begins_again_whatever_ends_it() -> None:
    service = unit()["Service"]

    assert service["WorkingDirectory"] == "/srv/project"
    assert (service["Restart"], service["KillMode"]) == ("always", "process")
    assert service["ExecStart"].endswith("-m ftorch.cli.main daemon run")
    assert '"FTORCH_HOME=/srv/project/state"' in service["Environment"]


def test_the_unit_begins_with_the_machine() -> None:
    assert unit()["Install"]["WantedBy"] == "default.target"


def test_paths_with_spaces_and_percent_signs_stay_what_they_are() -> None:
    service = unit("/srv/my 100% project")["Service"]

    assert service["WorkingDirectory"] == "/srv/my 100%% project"
    assert '"FTORCH_HOME=/srv/my 100%% project/state"' in service["Environment"]


@pytest.mark.parametrize("home", ["/srv/state", '/srv/my 100% "own" \\ state'])
def test_the_unit_of_this_installation_is_written_again(tmp_path: Path, home: str) -> None:
    place = tmp_path / "ftorch.service"
    other = Home(Path("/srv/theirs"))
    refuse_anothers(place, Home(Path(home)))
    place.write_text(systemd_unit(Home(Path(home)), Path("/srv"), {}))

    refuse_anothers(place, Home(Path(home)))  # our own unit: nothing is said
    with pytest.raises(UsageError, match="of another daemon"):
        refuse_anothers(place, other)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (systemd_unit(Home(Path("/srv/theirs")), Path("/srv"), {}), "of another daemon, of /srv/theirs; this"),
        ("[Service]\nExecStart=/usr/bin/true\n", "of another daemon, without an FTORCH_HOME of ours; this"),
    ],
)
def test_the_unit_of_another_installation_is_left_alone(tmp_path: Path, text: str, words: str) -> None:
    place = tmp_path / "ftorch.service"
    place.write_text(text)

    with pytest.raises(UsageError, match=f"{place} is the unit {words} installation is /srv/ours") as caught:
        refuse_anothers(place, Home(Path("/srv/ours")))

    assert "another name" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("env", "folder"), [({"HOME": "/home/me"}, "/home/me/.config"), ({"XDG_CONFIG_HOME": "/cfg"}, "/cfg")]
)
def test_the_unit_lies_where_the_users_systemd_looks(env: dict[str, str], folder: str) -> None:
    assert unit_file(env) == Path(folder, "systemd/user/ftorch.service")


def copied(text: str) -> list[str]:
    """What the container file takes from the clone."""
    return [name for line in text.splitlines() if line.startswith("COPY ") for name in line.split()[1:-1]]


def test_the_container_takes_what_the_build_needs_and_no_key() -> None:
    names = copied(container_file("all"))

    assert sorted(names) == ["LICENSE", "README.md", "constraints.txt", "pyproject.toml", "src"]
    assert all((ROOT / name).exists() for name in names)


def test_the_builder_is_sent_what_the_container_takes_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()

    assert [line for line in lines if not line.startswith(("#", "**"))] == [
        "*",
        *(f"!{name}" for name in copied(container_file("all"))),
    ]


def test_podman_keeps_the_health_check_and_its_user_may_write_the_project() -> None:
    text = container_file("all")

    assert "podman build --format docker " in text
    assert "--userns=keep-id:uid=1000,gid=1000" in text
    assert "useradd --create-home --uid 1000 --user-group ftorch" in text


def test_the_container_asks_for_its_health_and_keeps_its_state() -> None:
    text = container_file("together,postgres")

    assert "'/opt/ftorch[together,postgres]'" in text
    assert "VOLUME /state" in text
    assert "/healthz" in text
    assert "STOPSIGNAL SIGTERM" in text
