"""One pace for all processes of an installation: Lambda counts requests by account, not by connection."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from ftorch.core.clock import Clock, from_micros, to_micros
from ftorch.core.errors import ProviderUnavailableError
from ftorch.core.files import locked, write_text
from ftorch.core.paths import Home

REQUEST_S = 1.0
LAUNCH_S = 12.0
_LONGEST = timedelta(minutes=10)
_LAUNCH = "launch"
_REQUEST = "request"


class Pacer:
    """Hands out moments to send at, through a file of the state folder."""

    def __init__(self, home: Home, clock: Clock, *, request_s: float = REQUEST_S, launch_s: float = LAUNCH_S) -> None:
        self._folder = home.root / "lambda"
        self._clock = clock
        self._gaps = {_REQUEST: timedelta(seconds=request_s), _LAUNCH: timedelta(seconds=launch_s)}

    def request(self) -> None:
        """Wait for the turn of one request."""
        self._wait_for(self._reserve(_REQUEST, self._clock.now() + _LONGEST))

    def launch(self, send_before: datetime) -> None:
        """Wait for the turn of a launch. Raises ProviderUnavailableError, at once, when it comes too late."""
        self._wait_for(self._reserve(_LAUNCH, send_before))

    def _wait_for(self, moment: datetime) -> None:
        wait_s = (moment - self._clock.now()).total_seconds()
        if wait_s > 0:
            self._clock.sleep(wait_s)

    def _reserve(self, kind: str, latest: datetime) -> datetime:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._folder):
            now, taken = self._clock.now(), self._taken()
            moment = max([now, *(taken[one] + self._gaps[one] for one in (kind, _REQUEST) if one in taken)])
            if moment > latest:
                raise ProviderUnavailableError(
                    f"other launches come first: the next may be sent at {moment:%H:%M:%S}; nothing was sent",
                    provider="lambda",
                    operation="submit",
                )
            kept = {**taken, kind: moment, _REQUEST: moment}
            write_text(self._folder / "pace.json", json.dumps({name: to_micros(at) for name, at in kept.items()}))
        return moment

    def _taken(self) -> dict[str, datetime]:
        """The last turns; one far in the future was written by a clock that has been set back since."""
        path = self._folder / "pace.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        turns = {name: from_micros(micros) for name, micros in kept.items()}
        return {name: at for name, at in turns.items() if at < self._clock.now() + _LONGEST}
