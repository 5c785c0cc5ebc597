"""Where `ftorch.toml` is, and where it says that the database is: all that a command which only reads must know.

No pydantic here: the file as a whole is checked by `settings`, when something is submitted or the daemon starts.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from ftorch.core.errors import Fault, SettingsError

FILE = "ftorch.toml"


def project_file(cwd: Path, env: Mapping[str, str]) -> Path | None:
    """The nearest `ftorch.toml` here or above, not beyond the repository's root or the user's home."""
    home = Path(env["HOME"]) if env.get("HOME") else None
    for folder in (cwd, *cwd.parents):
        if (folder / FILE).is_file():
            return folder / FILE
        if (folder / ".git").exists() or folder == home:
            return None
    return None


def user_file(env: Mapping[str, str]) -> Path:
    """`ftorch.toml` in the user's configuration folder."""
    if named := env.get("XDG_CONFIG_HOME"):
        return Path(named) / "ftorch" / FILE
    if sys.platform == "linux" and env.get("HOME"):
        # What platformdirs says, without its import: this is asked by every command.
        return Path(env["HOME"]) / ".config" / "ftorch" / FILE
    from platformdirs import user_config_path  # noqa: PLC0415  slow, and only needed here

    return user_config_path("ftorch") / FILE


def store_url(cwd: Path, env: Mapping[str, str]) -> str | None:
    """The URL of the database, from `[store] url` of the project's file or else the user's; None: the state folder.

    Raises SettingsError for a file that is no TOML, or a variable that is not set.
    """
    return _url("store", cwd, env)


def artifacts_folder(cwd: Path, env: Mapping[str, str]) -> Path | None:
    """The folder of `[artifacts] url`, which all daemons reach; None: the state folder.

    Raises SettingsError for anything but an absolute `file://` URL.
    """
    url = _url("artifacts", cwd, env)
    if url is None:
        return None
    if not url.startswith("file:///"):
        raise SettingsError(
            [Fault(f"{url!r} is not a folder that ftorch can use", key="artifacts.url")],
            hint="mount it on every host and write file:///mnt/ftorch; object stores are not there yet",
        )
    from urllib.parse import unquote  # noqa: PLC0415  few files name a folder, and most commands only read

    return Path(unquote(url.removeprefix("file://")))


def _url(block: str, cwd: Path, env: Mapping[str, str]) -> str | None:
    for path in (project_file(cwd, env), user_file(env)):
        if path is not None and path.is_file() and (url := _url_in(path, block)) is not None:
            return _resolved(url, path, f"{block}.url", env)
    return None


def _url_in(path: Path, name: str) -> str | None:
    text = path.read_bytes()
    if name.encode() not in text:
        return None
    import tomllib  # noqa: PLC0415  most files name no database, and most commands only read

    try:
        block = tomllib.loads(text.decode()).get(name, {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([Fault(f"is not TOML: {error}", file=str(path))]) from error
    url = block.get("url") if isinstance(block, dict) else None
    return url if isinstance(url, str) else None


def _resolved(url: str, path: Path, key: str, env: Mapping[str, str]) -> str:
    if not url.startswith("env:"):
        return url
    name = url.removeprefix("env:")
    if not env.get(name):
        raise SettingsError(
            [Fault(f"names {name}, which is not set", file=str(path), key=key)],
            hint=f"set {name} to the URL",
        )
    return env[name]
