"""A box's clock: time goes `FTORCH_SPEED` times as fast as outside, from when the first of its services began."""

import os
import time

_SPEED = float(os.environ.get("FTORCH_SPEED", "1"))
_wall, _monotonic, _sleep = time.time, time.monotonic, time.sleep

for name, quick in {
    "time": lambda: _wall() * _SPEED,
    "monotonic": lambda: _monotonic() * _SPEED,
    "sleep": lambda seconds: _sleep(seconds / _SPEED),
}.items():
    setattr(time, name, quick)
