"""One ssh command of a box that counts what it sends, or has something go wrong: `shell.py FOLDER VERB`.

Faults: `drop_before` and `drop_after` (the work) end the connection, `failed_after` ends with 1, `garbage` answers with
a web page, `slow` waits `value` seconds with the answer, `cut` sends half, `damaged` turns one bit over.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

BLOCK = 1 << 18


def main() -> int:
    folder, verb = sys.argv[1:]
    fault, value = next_fault(folder, verb)
    if fault == "drop_before":
        hang_up()
    command = ["/bin/sh", "-c", os.environ["SSH_ORIGINAL_COMMAND"]]
    if verb == "send":
        return send(command, folder, fault)
    done = subprocess.run(command, capture_output=True, check=False)
    if fault == "drop_after":
        hang_up()
    if fault == "slow":
        time.sleep(float(value))
    sys.stdout.buffer.write(b"<html><body>Bad gateway</body></html>\n" if fault == "garbage" else done.stdout)
    sys.stderr.buffer.write(done.stderr)
    return 1 if fault == "failed_after" else done.returncode


def send(command: list[str], folder: str, fault: str) -> int:
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if not fault:
        return relay(process, process.stdout, folder)
    content = process.stdout.read()
    if fault == "damaged" and content:
        content = content[:-1] + bytes([content[-1] ^ 1])
    if fault == "cut":
        content = content[: len(content) // 2]
    count(folder, len(content))
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
    if fault in ("cut", "drop_after"):
        time.sleep(0.2)  # what was written is on its way before the connection ends
        hang_up()
    return process.wait()


def relay(process: subprocess.Popen[bytes], output: IO[bytes], folder: str) -> int:
    while block := os.read(output.fileno(), BLOCK):
        sys.stdout.buffer.write(block)
        count(folder, len(block))
    sys.stdout.buffer.flush()
    return process.wait()


def count(folder: str, sent: int) -> None:
    with Path(folder, "sent").open("a") as stream:
        stream.write(f"{sent}\n")


def hang_up() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)


def next_fault(folder: str, verb: str) -> tuple[str, str]:
    script, aside = Path(folder, "faults.json"), Path(folder, "faults.json.new")
    with Path(folder, "faults.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not script.exists():
            return "", ""
        faults = json.loads(script.read_text())
        found = next((one for one in faults if one["verb"] in (verb, "*") and one["times"] != 0), None)
        if found is None:
            return "", ""
        if found["times"] is not None:
            found["times"] -= 1
        aside.write_text(json.dumps(faults))
        aside.replace(script)
        return found["fault"], found["value"]


if __name__ == "__main__":
    sys.exit(main())
