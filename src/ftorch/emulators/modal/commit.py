"""`sync MOUNT` inside an emulated container: what has changed in the mount goes to its volume. A script of its own.

FTORCH_EMULATED_MOUNTS maps mounts to volumes, as JSON. What was in the mount at the last commit and is gone now was
deleted. Only when all is there do the files that others wait for follow: a commit of Modal's is seen whole.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

LAST = ("result.json", ".complete")
_SEEN = ".committed.json"


def commit(mount: Path, volume: Path) -> None:
    """Bring a mount's changes to its volume."""
    seen_file = mount.with_name(mount.name + _SEEN)
    before: dict[str, list[int]] = json.loads(seen_file.read_text()) if seen_file.exists() else {}
    now = _state(mount)
    changed = [name for name, state in now.items() if before.get(name) != state]
    for name in sorted(changed, key=lambda name: (name.endswith(LAST), name)):
        _copy(mount / name, volume / name)
    for name in before.keys() - now.keys():
        (volume / name).unlink(missing_ok=True)
    aside = seen_file.with_name(seen_file.name + ".part")
    aside.write_text(json.dumps(now))
    aside.replace(seen_file)


def remember(mount: Path) -> None:
    """Note a fresh mount's state: nothing of it is a change."""
    mount.with_name(mount.name + _SEEN).write_text(json.dumps(_state(mount)))


def _state(mount: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for path in mount.rglob("*"):
        try:
            if path.is_file():
                state = path.stat()
                found[path.relative_to(mount).as_posix()] = [state.st_size, state.st_mtime_ns]
        except FileNotFoundError:
            continue  # the trainer renames files while we look
    return found


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.commit")
    try:
        shutil.copy2(source, aside)
    except FileNotFoundError:
        return
    aside.replace(target)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        commit(Path(name), Path(json.loads(os.environ["FTORCH_EMULATED_MOUNTS"])[name]))
