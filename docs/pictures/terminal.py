"""Draws what a terminal shows of the mission of `team.py`, and of the end of `kitty demo`, as SVG.

`python docs/pictures/terminal.py` writes `status.svg`, `preview.svg` and `demo.svg` beside itself. Every character is what the program
wrote to a terminal of a hundred columns; only what is above the part that is shown is left out.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path

import pexpect
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text
from team import make

HERE = Path(__file__).parent
WIDTH = 104
KITTY = str(Path(sys.executable).with_name("kitty"))
SHAPE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix, .{unique_id}-title {{ font: {char_height}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }}
.{unique_id}-matrix {{ line-height: {line_height}px; white-space: pre }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Of a picture: nothing is fetched from anywhere."""


def draw(name: str, command: str, root: Path, *, shown: slice = slice(None)) -> None:
    """A command and what it says, or those of its lines that are `shown`."""
    said, code = pexpect.run(
        f"{KITTY} {command}", cwd=str(root), withexitstatus=True, timeout=120, dimensions=(60, WIDTH), encoding="utf-8"
    )
    if code:
        raise SystemExit(f"{command}: {said}")
    lines = said.replace("\r\n", "\n").rstrip().split("\n")
    start, end, _ = shown.indices(len(lines))
    lines = [*(["…"] if start else []), *lines[start:end]]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold green]$[/] kitty {command}".rstrip())
    console.print(Text.from_ansi("\n".join(lines)), overflow="fold")
    picture = console.export_svg(title=f"kitty {command}", theme=MONOKAI, code_format=SHAPE, unique_id=name)
    (HERE / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    os.environ |= {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "TERM": "xterm-256color",
        "PATH": f"{Path(KITTY).parent}:{os.environ['PATH']}",
    }
    with tempfile.TemporaryDirectory(prefix="kitty-pictures-") as place:
        root = make(Path(place) / "letters")
        draw("status", "status", root)
        draw("preview", "merge --preview", root)
        draw("demo", "demo", Path(place), shown=slice(-29, -8))
