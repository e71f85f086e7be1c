"""Status in a real terminal: colours, narrow ones, and one that follows what happens."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Road

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"\x1b\[\??[0-9;]*[A-Za-z]")
PATIENCE = 20


class Screen:
    """A command that runs in a terminal of its own."""

    def __init__(self, road: Road, *arguments: str, columns: int = 100, **environment: str) -> None:
        self._end, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kitty_host", *arguments],
            cwd=road.root,
            env={**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", **environment},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        self.text = ""

    def read(self) -> bool:
        """What is there by now; False at the end."""
        try:
            found = os.read(self._end, 1 << 16)
        except OSError:  # how Linux says that the other end is closed
            return False
        self.text += found.decode()
        return bool(found)

    def waits(self, seconds: float = 0.3) -> bool:
        """Whether there is something to read within some time."""
        return bool(select.select([self._end], [], [], seconds)[0])

    def wait_for(self, text: str) -> None:
        """Until a text was drawn."""
        until = time.monotonic() + PATIENCE
        while text not in CONTROL.sub("", self.text):
            assert time.monotonic() < until, self.text
            assert self.read(), self.text

    def rest(self) -> str:
        """Everything, to the end."""
        while self.waits(PATIENCE) and self.read():
            pass
        self.process.wait(PATIENCE)
        return self.text.replace("\r\n", "\n")

    def close(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._end)


@contextlib.contextmanager
def screen(road: Road, *arguments: str, **options: object) -> Iterator[Screen]:
    made = Screen(road, *arguments, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


def drawn(road: Road, *arguments: str, **options: object) -> str:
    with screen(road, *arguments, **options) as found:
        text = found.rest()
        assert found.process.returncode == 0, text
    return text


def test_a_terminal_gets_colours_by_lane_and_a_pipe_gets_none(road: Road) -> None:
    road.planned(("WP01",), ("WP02",))
    road.approved("WP01")
    text = drawn(road, "status")
    assert "\x1b[32mapproved\x1b[0m" in text
    assert "━" in text
    piped = road.project.process("status").stdout
    assert "\x1b" not in piped
    assert piped.isascii()
    assert [line for line in piped.splitlines() if line != line.rstrip()] == []


def test_colours_are_left_out_where_nobody_wants_them(road: Road) -> None:
    road.planned()
    road("implement", "WP01", "--agent", "ada")
    assert "\x1b[34m" in drawn(road, "status")
    plain = drawn(road, "status", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*[3-9][0-9]", plain)
    assert "[######..............] 30 %" in plain


def test_an_effort_is_told_whole_where_there_is_room(road: Road) -> None:
    road.planned(("WP01",))
    road("effort", "WP01", "--seconds", "2940", "--tokens", "61200", "--cost", "0.74", "--agent", "ada")
    for columns, told in ((100, "49 min"), (140, "49 min, 61,200 tokens, cost 0.74")):
        row = next(
            line for line in COLOUR.sub("", drawn(road, "status", columns=columns)).splitlines() if "WP01" in line
        )
        assert row.rstrip().endswith(f"  {told}")


def test_sixty_columns_are_enough(road: Road) -> None:
    road.planned(("WP01",), ("WP02", "WP01"))
    title = "A title that is far too long for one line of any terminal that has sixty columns and no more"
    road.write("tasks/WP02-x.md", f"---\nwork_package_id: WP02\ntitle: {title}\ndependencies: [WP01]\n---\n")
    road("implement", "WP01", "--agent", "ada-the-implementer")
    lines = [COLOUR.sub("", line) for line in drawn(road, "status", columns=60).splitlines()]
    assert max(map(len, lines)) <= 60
    assert not any("lane-a" in line for line in lines), "what matters less is left out"
    assert any(re.match(r"  WP01 +in_progress +\S", line) for line in lines)
    table = lines[next(number for number, line in enumerate(lines) if line.startswith("  WP02")) :]
    start = table[0].index("A title")
    assert " ".join("".join(line[start : start + 18] for line in table).split()).startswith("A title that is")
    assert ["columns", "and", "no", "more"][-1] in " ".join(lines), "nothing is cut"


def test_a_command_to_copy_is_not_broken(road: Road) -> None:
    road.planned()
    with road.mission.ledger.live.open("a") as ledger:
        ledger.write('{"torn')
    (finding,) = road("status")["missions"][0]["findings"]
    assert f"  {finding['code']}: {finding['message']}" in COLOUR.sub("", drawn(road, "status", columns=30))


def test_nothing_steers_the_terminal(road: Road) -> None:
    road.planned()
    lane = "lane\\u001b[2J\\u202e"
    lanes = road.mission.directory / "lanes.json"
    lanes.write_text(lanes.read_text().replace("lane-a", lane))
    road.write("tasks/WP01-x.md", '---\nwork_package_id: WP01\ntitle: "a\\e[2Jb\\u202e [red]c[/red]"\n---\n')
    text = drawn(road, "status")
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert "%5Bred%5D" in text


def test_what_somebody_forgot_to_make_harmless_is_shown_by_its_numbers(
    road: Road, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from kitty_host.api import hookimpl\n\n@hookimpl\ndef kitty_forecast(mission):\n"
    source += "    from kitty_host.records import Forecast\n    return Forecast(None, reason='\\x1b[2J\\u202e [red]')\n"
    install_plugin("prophet", source)
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,lanes,prophet")
    road.planned()
    for text in (drawn(road, "status"), road.project.process("status").stdout):
        assert "no forecast: \\u{1b}[2J\\u{202e} [red]" in text
        assert "\x1b[2J" not in text
        assert "\u202e" not in text


# Watching


def test_it_follows_what_happens_and_ends_quietly(road: Road) -> None:
    road.planned()
    with screen(road, "status", "--watch") as found:
        found.wait_for("0 of 1 done")
        assert road.project.process("implement", "WP01", "--agent", "ada").exit_code == 0
        found.wait_for("1 in_progress")
        road.write("tasks/WP02-x.md", "---\nwork_package_id: WP02\ntitle: One more\n---\n")
        found.wait_for("One more")
        road.write("tasks/WP02-x.md", "---\nwork_package_id: WP02\ntitle: Another name\n---\n")
        found.wait_for("Another name")
        ledger = road.mission.ledger.live
        whole = ledger.read_bytes()
        ledger.write_bytes(b"[]\n")
        found.wait_for("LEDGER_DAMAGED")
        ledger.write_bytes(whole)
        found.text = ""
        found.wait_for("0 of 2 done")
        os.kill(found.process.pid, signal.SIGINT)
        text = found.rest()
    assert found.process.returncode == 0
    assert "Traceback" not in text
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor is back"


def test_it_draws_nothing_while_nothing_happens(road: Road) -> None:
    road.planned()
    with screen(road, "status", "--watch") as found:
        found.wait_for("Title of WP01")
        while found.waits():
            found.read()
        assert not found.waits(1.5)


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_without_a_terminal_there_is_nobody_who_watches(road: Road, arguments: list[str]) -> None:
    road.planned()
    done = road.project.process("status", "--watch", *arguments)
    assert done.exit_code == 2
    assert "--watch is for people" in done.stdout + done.stderr


def test_json_is_for_programs_in_a_terminal_too(road: Road) -> None:
    road.planned()
    with screen(road, "status", "--watch", "--json") as found:
        assert '"code": "USAGE"' in found.rest()
        assert found.process.returncode == 2
