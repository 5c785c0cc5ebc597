from __future__ import annotations

import subprocess
import sys

_LOOK = """
import sys
import ftorch.daemon.loop, ftorch.providers.http, httpx
print(sorted({"rich", "pygments"} & set(sys.modules)))
import rich.console
print(callable(httpx.main))
"""


def test_the_daemon_loads_nothing_that_colours() -> None:
    looked = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True)

    assert looked.stdout.splitlines() == ["[]", "True"]


_AT_REST = """
import sys
import ftorch.daemon.loop
print(sorted({"httpx", "msgspec", "http.server", "ftorch.data", "ftorch.evals"} & set(sys.modules)))
"""


def test_a_daemon_at_rest_carries_nothing_of_schedules_and_notices() -> None:
    looked = subprocess.run([sys.executable, "-c", _AT_REST], capture_output=True, text=True, check=True)

    assert looked.stdout.strip() == "[]"
