"""The dead man's switch of a rented machine: it ends its own machine when nobody else does.

Runs as root on the machine, as a service, in the machine's own Python (3.10 or newer, nothing installed). Shutting
down does not stop the bill and Lambda has no time limit, so the switch calls Lambda itself. The machine's id does not
exist yet when this file is written: it knows itself by its name and by the tag of its launch.

    always                   after `max_life_s`: what is left of the budget, divided by the price
    nothing was started      after `boot_grace_s` without a look from home
    the work has gone quiet  after `stale_s` without a heartbeat and without a look from home
    the work is done         at once when the adapter is home; else after `hold_s`, or never before `max_life_s`
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POLL_S = 15.0
EARLY_S = 60.0
"""An end takes its time: what is asked for a minute early is over in the minute that is paid for."""
_HTTP_S = 20.0
MARK = "ftorch-sent"


@dataclass
class Config:
    """`switch.json`, written with the machine."""

    url: str
    key: str = field(repr=False)
    name: str
    mark: str
    """The tag of this launch: a second machine under the same name has another, and a switch of its own."""
    folder: str
    max_life_s: float
    boot_grace_s: float
    stale_s: float
    hold_s: float | None


@dataclass
class Changes:
    """When a file was last seen to change, by our own clock: the file's may be wrong."""

    path: Path
    seen: str = ""
    at: float | None = None

    def look(self, now: float) -> float | None:
        """The moment of the last change; None where the file is not there."""
        try:
            said = f"{self.path.stat().st_mtime_ns} {self.path.stat().st_ino}"
        except OSError:
            return self.at
        if said != self.seen:
            self.seen, self.at = said, now
        return self.at


class Switch:
    """Looks at the run's folder and says whether the machine must end, and why."""

    def __init__(self, config: Config, born: float) -> None:
        self.config = config
        self.born = born
        folder = Path(config.folder)
        self._started = folder / "process.json"
        self._result = Changes(folder / "out/result.json")
        self._fetched = folder / "fetched"
        self._lease = Changes(folder / "lease")
        self._beat = Changes(folder / "out/heartbeat.json")
        self._begun: float | None = None

    def reason(self, now: float) -> str:
        """Why the machine must end now; empty while it may live."""
        if now - self.born >= self.config.max_life_s - EARLY_S:
            return "what its budget pays for is used up"
        looked = self._lease.look(now) or self.born
        if not self._started.exists():
            return "nothing was started" if now - looked >= self.config.boot_grace_s else ""
        if self._begun is None:
            self._begun = now
        done = self._result.look(now)
        if done is not None:
            return self._when_done(now, max(done, looked))
        alive = max(self._beat.look(now) or self._begun, looked, self._begun)
        return "the work has gone quiet" if now - alive >= self.config.stale_s else ""

    def _when_done(self, now: float, waiting_since: float) -> str:
        if self._fetched.exists():
            return "the adapter is home"
        if self.config.hold_s is not None and now - waiting_since >= self.config.hold_s:
            return "nobody fetched the adapter"
        return ""


def end(config: Config) -> None:
    """Ask Lambda to end this machine. Raises what goes wrong; asked again, it is harmless."""
    listed = _asked(config, "GET", "/instances")["data"]
    for one in listed:
        if one.get("name") == config.name and _is_marked(one, config.mark):
            _asked(config, "POST", "/instance-operations/terminate", {"instance_ids": [one["id"]]})


def _is_marked(instance: dict[str, Any], mark: str) -> bool:
    """True also where Lambda shows no mark: rather one machine too few than one that nobody ends."""
    marks = [tag["value"] for tag in instance.get("tags") or [] if tag.get("key") == MARK]
    return marks in ([], [mark])


def _asked(config: Config, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(  # noqa: S310  the address is Lambda's, written with the machine
        config.url + path,
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={"Authorization": f"Bearer {config.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_HTTP_S) as answer:  # noqa: S310
        return json.load(answer)


def born_at(state: Path) -> float:
    """When the machine's life began: the first start of this service, kept for the others."""
    try:
        return float(state.read_text())
    except (OSError, ValueError):
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(str(time.time()))
        return float(state.read_text())


def main(path: Path) -> None:
    """Look until the machine has to end, then ask for it until it does."""
    config = Config(**json.loads(path.read_text()))
    # Moments of the machine's own clock are only compared with each other, and it only goes forward.
    lived = max(0.0, time.time() - born_at(path.with_name("born")))
    switch = Switch(config, time.monotonic() - lived)
    while not (why := switch.reason(time.monotonic())):
        time.sleep(POLL_S)
    while True:
        sys.stderr.write(f"ftorch switch: ending this machine: {why}\n")
        try:
            end(config)
        except Exception as error:  # noqa: BLE001  whatever it was: as long as this machine lives, it must be asked again
            sys.stderr.write(f"ftorch switch: Lambda could not be asked: {type(error).__name__}\n")
        time.sleep(POLL_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
