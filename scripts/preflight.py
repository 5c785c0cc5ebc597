"""Before anything is installed: is there a Python, a venv module and the disk for it? Says what to install when not.

`python scripts/preflight.py demo` also says what will be downloaded.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys

_NEEDED_GIB = 4
_DOWNLOADS = """\
ftorch itself: 25 packages, about 12 MB to download, 35 MB installed
the training packages and a small base model: about 550 MB to download, 1.6 GB installed
(on Linux without a GPU point pip at PyTorch's CPU wheels first, or it brings several GB of CUDA)"""


def main() -> int:
    problems = []
    if sys.version_info < (3, 11):
        found = ".".join(map(str, sys.version_info[:2]))
        problems.append(f"Python {found} is too old: ftorch needs 3.11 or newer; run `make PYTHON=python3.12 ...`")
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        problems.append("this Python cannot make virtual environments: on Debian and Ubuntu `apt install python3-venv`")
    free = shutil.disk_usage(".").free / (1 << 30)
    if free < _NEEDED_GIB:
        problems.append(f"{free:.1f} GiB of disk are free, the training packages need about {_NEEDED_GIB} GiB")
    for problem in problems:
        print(problem, file=sys.stderr)
    if "demo" in sys.argv[1:] and not problems:
        print(_DOWNLOADS)
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
