"""The CUDA driver of a box, for whoever asks for it by `ctypes`: it answers what `gpu.json` says."""

import ctypes
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_real = ctypes.CDLL


class Driver:
    """Every function of it gives the same answer."""

    def __init__(self, code: int) -> None:
        self._code = code

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *_: self._code


def opened(name: str, *args: Any, **kwargs: Any) -> Any:
    if name != "libcuda.so.1":
        return _real(name, *args, **kwargs)
    code = json.loads(Path(os.environ["FTORCH_GPU"]).read_text())["cuda"]
    if code is None:
        raise OSError("libcuda.so.1: cannot open shared object file")
    return Driver(code)


ctypes.CDLL = opened  # type: ignore[assignment, misc]  # a function in the place of a class, for whoever calls it
