"""A line of the measurements, and the CPU time of a command."""

from __future__ import annotations

import resource
import subprocess


class Line:
    """One measurement: what, how much, and the bar it is held to."""

    def __init__(self, what: str, value: float, bar: float, unit: str, note: str = "") -> None:
        self.what, self.value, self.bar, self.unit, self.note = what, value, bar, unit, note

    @property
    def holds(self) -> bool:
        return self.value <= self.bar

    def __str__(self) -> str:
        held = "holds" if self.holds else "DOES NOT HOLD"
        return f"| {self.what} | {self.value:.2f}{self.unit} | {self.bar:g}{self.unit} | {held} | {self.note} |"


def cpu_s(command: list[str], env: dict[str, str]) -> float:
    """CPU seconds of one child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
