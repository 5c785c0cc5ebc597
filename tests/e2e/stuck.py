"""A daemon whose database hangs from the start, with short limits: run as a program, by tests."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from ftorch.daemon import leave, watchdog
from ftorch.daemon.loop import Daemon
from ftorch.jobs.opening import open_context
from ftorch.store import Transaction


def main(folder: Path, hung_s: float, leave_s: float) -> None:
    """Be a daemon until the watchdog or a signal ends it."""
    watchdog.HUNG_S, watchdog._LOOK_S, leave.LEAVE_S = hung_s, 0.1, leave_s
    context = open_context({"FTORCH_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}, folder)
    inside = threading.Event()

    def hang(_tx: Transaction) -> None:
        inside.set()
        time.sleep(3600)

    threading.Thread(target=lambda: context.store.write(hang), daemon=True).start()
    inside.wait()
    Daemon(context, cwd=folder).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
