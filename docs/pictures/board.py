"""Takes the pictures of docs/board.md: the mission of `team.py` in a real browser, light and dark.

`python docs/pictures/board.py` writes `board-light.png` and `board-dark.png` beside itself. It needs Chromium, and kitty in the
environment that it runs in.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from team import KITTY, make

HERE = Path(__file__).parent
QUIET = ("background-networking", "component-update", "sync", "quic")
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]


def pictures(root: Path) -> None:
    """What a browser shows of it."""
    command = [*KITTY, "-C", str(root), "board", "--no-open", "--json"]
    board = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert board.stdout is not None
        url = json.loads(board.stdout.readline())["url"]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
            for scheme in ("light", "dark"):
                take(browser, url, scheme)
            browser.close()
    finally:
        board.send_signal(signal.SIGINT)
        board.wait()


def take(browser: Any, url: str, scheme: str) -> None:
    """One picture, with one card open."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1400, "height": 740})
    page.goto(url)
    page.get_by_text("live", exact=True).wait_for()
    page.locator(".in_review summary").click()
    page.mouse.move(0, 0)
    page.screenshot(path=HERE / f"board-{scheme}.png", full_page=True)
    page.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="kitty-pictures-") as place:
        os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
        pictures(make(Path(place)))
