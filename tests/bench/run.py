"""`make bench`: ratios against a baseline in the same run, written to docs/reference/measurements.md.

Times are CPU seconds (user + system) of child processes, medians; wall times say more about the machine's load.
    start-up    `ftorch --version`, `--help`, `jobs` against `python -c pass`
    install     size and number of distributions of the core
    estimates   learned on 50 jobs, judged on the rest, at providers drawn by --seed
    engine      10,000 jobs at a provider with pages of 100: memory, calls, commits, restart (only with --engine)
    fetch       300 MB by ssh against `sftp`, in wall time (only with --fetch; needs openssh-server)
    books       reports over a million ledger entries: CPU and memory (only with --books)
    together    a walk over 1,000 jobs at the emulator, and a fetch against curl (only with --together)
    trainer     CPU seconds per step against a plain TRL script with the same settings (only with --trainer)
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.lines import Line, cpu_s

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "measurements.md"
_REPEATS = 15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainer", action="store_true", help="also the trainer, on SmolLM2-135M; takes minutes")
    parser.add_argument("--install", action="store_true", help="also a fresh core install; needs a package index")
    parser.add_argument("--together", action="store_true", help="also Together's emulator; about a minute")
    parser.add_argument("--engine", action="store_true", help="also the engine with 10,000 jobs; takes minutes")
    parser.add_argument("--fetch", action="store_true", help="also the fetch over ssh")
    parser.add_argument("--seed", type=int, default=None, help="of the hidden providers; a fresh one when not given")
    parser.add_argument(
        "--books", action="store_true", help="also reports over a million ledger entries; takes a minute"
    )
    chosen = parser.parse_args()
    lines: list[Line] = []
    for section, measure in SECTIONS.items():
        if section in _ALWAYS or getattr(chosen, section):
            for line in measure(chosen):
                print(line, flush=True)
                lines.append(line)
    report(lines)
    return 0 if all(line.holds for line in lines) else 1


def _measured(module: str) -> Callable[[argparse.Namespace], list[Line]]:
    """What a module of this folder measures. It is loaded then: the trainer's brings torch along."""

    def measure(_chosen: argparse.Namespace) -> list[Line]:
        found: list[Line] = importlib.import_module(f"bench.{module}").measure()
        return found

    return measure


def estimates(chosen: argparse.Namespace) -> list[Line]:
    from bench.estimates import measure

    return measure(chosen.seed if chosen.seed is not None else secrets.randbelow(10**6))


def start_up(_chosen: argparse.Namespace) -> list[Line]:
    """Ratios of CPU time, the commands interleaved with the baseline so that load hits both."""
    ftorch = str(Path(sys.executable).with_name("ftorch"))
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "FTORCH_HOME": home}
        commands = {
            "--version": (3, [ftorch, "--version"]),
            "--help": (8, [ftorch, "--help"]),
            "jobs": (8, [ftorch, "jobs"]),
        }
        times: dict[str, list[float]] = {name: [] for name in ["pass", *commands]}
        for _ in range(_REPEATS):
            times["pass"].append(cpu_s([sys.executable, "-c", "pass"], env))
            for name, (_, command) in commands.items():
                times[name].append(cpu_s(command, env))
    base = statistics.median(times["pass"])
    return [
        Line(
            f"`ftorch {name}` / `python -c pass`",
            statistics.median(times[name]) / base,
            bar,
            "x",
            f"base {base * 1000:.0f} ms",
        )
        for name, (bar, _) in commands.items()
    ]


def install_size(_chosen: argparse.Namespace) -> list[Line]:
    """A fresh environment with the core only, without pip and setuptools themselves."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        before = size_mb(Path(folder))
        python = str(Path(folder) / "bin" / "python")
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(ROOT)], check=True
        )
        listed = subprocess.run(
            [python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True
        )
        ours = [line for line in listed.stdout.splitlines() if line.partition("==")[0] not in ("pip", "setuptools")]
        grown = size_mb(Path(folder)) - before
    return [
        Line("core install", grown, 40, " MB", "without pip itself, bytecode included"),
        Line("core distributions", len(ours), 25, "", "ftorch itself included"),
    ]


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def report(lines: list[Line]) -> None:
    """Print the table and keep it."""
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    heading = f"{datetime.now(UTC):%Y-%m-%d}, {machine}"
    table = "\n".join(["| what | measured | bar | | note |", "|---|---|---|---|---|", *map(str, lines)])
    print(f"{heading}\n{table}")
    PAGE.write_text(f"# Measurements\n\nWritten by `make bench`: {heading}.\n\n{table}\n")


_ALWAYS = ("start_up", "estimates")
SECTIONS: Mapping[str, Callable[[argparse.Namespace], list[Line]]] = {
    "start_up": start_up,
    "estimates": estimates,
    "install": install_size,
    "engine": _measured("engine"),
    "fetch": _measured("fetch"),
    "books": _measured("books"),
    "together": _measured("together_walks"),
    "trainer": _measured("trainer_ratio"),
}


if __name__ == "__main__":
    sys.exit(main())
