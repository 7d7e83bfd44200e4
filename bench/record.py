"""A command in a terminal, recorded as a picture that moves: an SVG that needs no program.

The command runs in a terminal of 100 x N characters. What the screen shows is played so many times
faster, ten screens a second at most; the last one stays for a while.

    python3 bench/record.py docs/images.svg --speed 20 -- python3 build.py images
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import shlex
import sys
import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import pyte

COLUMNS = 100
CELL_WIDTH, CELL_HEIGHT = 8.4, 18
FRAME_SECONDS = 0.1  # between two screens, in the picture's time
LAST_SECONDS = 5.0  # the last screen, in the picture's time
COLOURS = {
    "default": "#e6e6e6",
    "red": "#ff6b6b",
    "green": "#6bd968",
    "brown": "#e0c060",
    "blue": "#7aa2f7",
    "magenta": "#c792ea",
    "cyan": "#66d9ef",
    "white": "#ffffff",
    "black": "#808080",
}
Line = tuple[tuple[str, str, bool], ...]  # runs of text, colour, bold


@dataclass
class Recording:
    """The screens of a command, each with the seconds after its start."""

    lines: int
    frames: list[tuple[float, list[Line]]] = field(default_factory=list)
    end: float = 0.0
    status: int = 0

    def note(self, at: float, screen: pyte.Screen) -> None:
        """Keep the screen if it is another than the last."""
        shown = [_line(screen, row) for row in range(self.lines)]
        if not self.frames or self.frames[-1][1] != shown:
            self.frames.append((at, shown))


def record(command: list[str], lines: int, pause: float) -> Recording:
    """Run a command in a terminal of its own and look at it every `pause` seconds until it ends."""
    screen = pyte.Screen(COLUMNS, lines)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {shlex.join(command)}\r\n".encode())
    found = Recording(lines)
    pid, terminal = pty.fork()
    if pid == 0:
        size = {"COLUMNS": str(COLUMNS), "LINES": str(lines), "TERM": "xterm-256color"}
        os.execvpe(command[0], command, {**os.environ, **size})
    start = due = time.monotonic()
    while True:
        if select.select([terminal], [], [], max(0.0, due - time.monotonic()))[0]:
            try:
                stream.feed(os.read(terminal, 1 << 16))
            except OSError:  # Linux: the other end is closed
                break
        if (now := time.monotonic()) >= due:
            found.note(now - start, screen)
            due = now + pause
    found.end = time.monotonic() - start
    found.note(found.end, screen)
    found.status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return found


def _line(screen: pyte.Screen, row: int) -> Line:
    runs: list[tuple[str, str, bool]] = []
    for column in range(COLUMNS):
        cell = screen.buffer[row][column]
        colour = COLOURS.get(cell.fg, "#" + cell.fg if len(cell.fg) == 6 else COLOURS["default"])
        if runs and runs[-1][1:] == (colour, cell.bold):
            runs[-1] = (runs[-1][0] + cell.data, colour, cell.bold)
        else:
            runs.append((cell.data, colour, cell.bold))
    while runs and not runs[-1][0].strip():
        runs.pop()
    return tuple(runs)


def drawn(recording: Recording, speed: float, title: str) -> str:
    """The recording as SVG: all screens side by side, and a window that goes from one to the next.

    A line that is on more than one screen is written once (`<use>`).
    """
    width, height = COLUMNS * CELL_WIDTH + 24, recording.lines * CELL_HEIGHT + 24
    names: dict[Line, str] = {}
    screens = []
    for number, (_, lines) in enumerate(recording.frames):
        uses = [
            f'<use href="#{names.setdefault(line, f"l{len(names)}")}" y="{row * CELL_HEIGHT}"/>'
            for row, line in enumerate(lines)
            if line
        ]
        screens.append(f'<g transform="translate({number * width:g})">{"".join(uses)}</g>')
    symbols = [f'<g id="{name}">{_text(line)}</g>' for line, name in names.items()]
    whole = recording.end / speed + LAST_SECONDS
    steps = [
        f"{at / speed / whole:.3%}{{transform:translateX({-number * width:g}px)}}"
        for number, (at, _) in enumerate(recording.frames)
    ]
    last = -(len(recording.frames) - 1) * width
    still = f"transform:translateX({last:g}px)"
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">
<title>{escape(title)}</title>
<style>
text{{font:14px monospace;white-space:pre}}
.film{{animation:play {whole:.1f}s step-end infinite;{still}}}
@keyframes play{{{"".join(steps)}100%{{{still}}}}}
@media(prefers-reduced-motion:reduce){{.film{{animation:none}}}}
</style>
<defs>{"".join(symbols)}</defs>
<rect width="100%" height="100%" rx="8" fill="#16191d"/>
<svg x="12" y="12" width="{width - 24:g}" height="{height - 24:g}">
<g class="film">{"".join(screens)}</g>
</svg>
</svg>
"""


def _text(line: Line) -> str:
    column, parts = 0, []
    for text, colour, bold in line:
        weight = ' font-weight="bold"' if bold else ""
        if text.strip():
            parts.append(
                f'<text x="{column * CELL_WIDTH:g}" y="14" fill="{colour}"{weight} '
                f'textLength="{len(text) * CELL_WIDTH:g}">{escape(text)}</text>'
            )
        column += len(text)
    return "".join(parts)


def main() -> int:
    """Record a command, write the picture, and end as the command ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--speed", type=float, default=10, help="times faster than it was")
    parser.add_argument("--lines", type=int, default=24)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    recording = record(given.command, given.lines, FRAME_SECONDS * given.speed)
    title = f"{shlex.join(given.command)}: {recording.end:.0f} s, {given.speed:g} times faster"
    picture = drawn(recording, given.speed, title)
    ElementTree.fromstring(picture)  # well-formed, or an error
    given.picture.write_text(picture)
    print(f"{given.picture}: {len(recording.frames)} screens, {len(picture) / 1000:.0f} kB")
    return recording.status


if __name__ == "__main__":
    sys.exit(main())
