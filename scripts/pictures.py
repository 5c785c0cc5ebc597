"""The pictures of the README, from the last `make demo`: its terminal, the crossover, the loss. `make docs` runs it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".ftorch"
FOLDER = ROOT / "docs" / "pictures"
TRANSCRIPT = HOME / "demo.txt"
_COLUMNS = 110
_THEME = TerminalTheme((24, 26, 31), (220, 223, 228), [(40, 44, 52)] * 8, [(90, 94, 104)] * 8)
_LEFT_OUT = re.compile(r"^(training: step|evaluating |\d\d:\d\d:\d\d  )")
"""Lines of progress: the picture shows what is known at the end."""
_FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_WIDTH, _HEIGHT, _EDGE = 640, 240, 44


def main() -> int:
    if not TRANSCRIPT.is_file():
        print("run `make demo` first: the pictures are made from it", file=sys.stderr)
        return 2
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "demo.svg").write_text(terminal(TRANSCRIPT.read_text()))
    (FOLDER / "loss.svg").write_text(loss_curve(losses()))
    command = [str(Path(sys.executable).parent / "ftorch"), "lifetime", "jobs/worked-example.yaml"]
    subprocess.run(
        [*command, "--start", "2026-11-01", "--svg", str(FOLDER / "crossover.svg")],
        cwd=ROOT,
        check=False,  # its exit code is the verdict
        capture_output=True,
    )
    return 0


def terminal(transcript: str) -> str:
    """The transcript as an SVG that needs no font from elsewhere."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in transcript.replace(str(ROOT), "~/ftorch").splitlines():
        if not _LEFT_OUT.match(line):
            console.print(Text(line, style="bold" if line.startswith("$ ") else ""))
    svg = console.export_svg(title="make demo", theme=_THEME)
    return _FONT_FACES.sub("", svg).replace("Fira Code", "ui-monospace")


def losses() -> list[tuple[int, float]]:
    """Step and loss of the newest training run of the demo; the last row of a step counts."""
    runs = sorted(HOME.glob("runs/*/out/metrics.jsonl"))
    rows = (json.loads(line) for line in runs[-1].read_text().splitlines()) if runs else iter(())
    return sorted({row["step"]: row["loss"] for row in rows if row.get("loss") is not None}.items())


def loss_curve(points: list[tuple[int, float]]) -> str:
    """A line chart of the loss per optimizer step, with its own axis labels."""
    last, top = points[-1][0], max(loss for _, loss in points)

    def place(step: int, loss: float) -> str:
        x = _EDGE + (step / last) * (_WIDTH - 2 * _EDGE)
        y = _HEIGHT - _EDGE - (loss / top) * (_HEIGHT - 2 * _EDGE)
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(step, loss) for step, loss in points)
    floor, right = _HEIGHT - _EDGE, _WIDTH - _EDGE
    labels = [
        (_EDGE - 6, _EDGE + 4, "end", f"{top:.1f}"),
        (_EDGE - 6, floor + 4, "end", "0"),
        (_EDGE, floor + 18, "start", "step 1"),
        (right, floor + 18, "end", f"step {last}"),
        (_EDGE, _EDGE - 14, "start", f"training loss of support-intents, {points[-1][1]:.3f} at the end"),
    ]
    texts = "".join(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>' for x, y, anchor, words in labels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f"<title>Training loss by optimizer step</title>"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
        f'<g font-family="system-ui, sans-serif" font-size="12" fill="#444444">{texts}</g>'
        f'<path d="M{_EDGE},{_EDGE} V{floor} H{right}" fill="none" stroke="#999999"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="2"/></svg>\n'
    )


if __name__ == "__main__":
    sys.exit(main())
