"""No plan, however hostile, makes an importer or a check crash, hang, or fill the memory.

A short run belongs to every test run. A long one, ten minutes of it unless `FUZZ_SECONDS` says otherwise:
`pytest -m sweep plugins/intake/tests/test_fuzz.py`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostile import BOMBS, SEEDS, TOKENS, changed
from hypothesis import given, settings
from hypothesis import strategies as some

from kitty_host.api import KittyError
from kitty_host.bundle import bundle
from kitty_host.inert import inert
from kitty_host.records import Source
from kitty_intake.checks import findings
from kitty_intake.formats import recognise

LIMIT = 10
"""Seconds for one plan."""
names = some.sampled_from(
    ["spec.md", "plan.md", "tasks.md", "proposal.md", "specs/a/spec.md", "tasks/tasks.json", "tasks/a.md", "issues.jsonl", "a.md"]
)  # fmt: skip
pieces = some.lists(some.sampled_from(TOKENS) | some.binary(max_size=8), max_size=60).map(b"".join)


def look(content: bytes) -> str:
    """Read a plan as intake and the commands after it do; the format, empty where it is not even text."""
    brief = recognise(Source("plan", content))
    if brief is None:
        return ""
    findings(brief)
    # What is stored is read again, and has to say the same.
    again = recognise(Source("plan", brief.text.encode()))
    assert again is not None
    assert (again.format, again.title, again.requirements, again.packages) == (
        brief.format,
        brief.title,
        brief.requirements,
        brief.packages,
    )
    for one in brief.packages:
        for text in (one.source_id, one.title, one.body, *one.dependencies, *one.owned_files):
            text.encode()
            assert len(inert(text, prose=True).encode()) <= 256
    return brief.format


@settings(deadline=None, max_examples=200)
@given(some.binary(max_size=300) | pieces)
def test_any_bytes_are_a_plan_or_none(content: bytes) -> None:
    look(content)


@settings(deadline=None, max_examples=200)
@given(some.dictionaries(names, pieces, max_size=4))
def test_any_directory_is_a_plan_or_none(files: dict[str, bytes]) -> None:
    look(bundle(files))


@settings(deadline=None, max_examples=300)
@given(some.randoms(use_true_random=False))
def test_an_honest_plan_after_any_change_is_a_plan_or_none(chance: random.Random) -> None:
    look(changed(chance))


def test_honest_plans_are_recognised_as_what_they_are_and_changed_ones_often_are() -> None:
    """Or the tests above would look at plain text only."""
    assert {look(content) for content in SEEDS} == {"spec-kit", "openspec", "backlog-md", "task-master", "beads"}
    chance = random.Random(1)
    seen = [look(changed(chance)) for _ in range(300)]
    assert all(seen.count(one) >= 8 for one in ("spec-kit", "openspec", "backlog-md", "task-master", "beads"))


CHILD = f"""
import sys, time
from kitty_host.records import Source
from kitty_intake.checks import findings
from kitty_intake.formats import recognise

def largest():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) * 1024

sys.path.insert(0, {str(Path(__file__).parent)!r})
from hostile import SEEDS
for warm in SEEDS:
    findings(recognise(Source("plan", warm)))
content = sys.stdin.buffer.read()
before, began = largest(), time.process_time()
brief = recognise(Source("plan", content))
if sys.argv[1].startswith("text") and brief is not None:
    findings(brief)
print(largest() - before, time.process_time() - began)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the largest resident size is read from /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_not_go_off(name: str) -> None:
    content = BOMBS[name]()
    assert len(content) <= 5_242_880
    done = subprocess.run([sys.executable, "-c", CHILD, name], input=content, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    grown, took = done.stdout.decode().split()
    sys.stdout.write(f"{name}: {int(grown) >> 20} MiB, {took} s\n")
    assert int(grown) < 64 << 20
    assert float(took) < LIMIT


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"it takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.sweep
def test_ten_minutes_of_hostile_plans() -> None:
    seconds = int(os.environ.get("FUZZ_SECONDS", "600"))
    seed = int(os.environ.get("FUZZ_SEED", str(time.time_ns())))
    chance, end, seen = random.Random(seed), time.monotonic() + seconds, dict[str, int]()
    for content in SEEDS:
        look(content)
    largest = _largest()
    while time.monotonic() < end:
        content = changed(chance)
        with no_longer_than(LIMIT):
            try:
                found = look(content)
            except KittyError as error:
                found = error.code
            except BaseException:
                Path("hostile-plan.bin").write_bytes(content)
                sys.stdout.write(f"seed {seed}: the plan is in hostile-plan.bin\n")
                raise
        seen[found] = seen.get(found, 0) + 1
    sys.stdout.write(f"seed {seed}: {sum(seen.values())} plans in {seconds} s: {seen}\n")
    assert _largest() - largest < 64 << 20
    assert {"spec-kit", "openspec", "backlog-md", "task-master", "beads", "text"} <= seen.keys()


def _largest() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
