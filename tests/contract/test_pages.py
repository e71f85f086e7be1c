"""What pages say of the interfaces, field by field, is what the program does, and commands that they show do what is said."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
from pathlib import Path
from uuid import UUID

from kitty_host.config import parse_yaml
from kitty_host.ledger.event import annotation, envelope
from kitty_host.records import Decision
from kitty_host.testing import Project
from kitty_sync.events import wire

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = [*(ROOT / "kitty_host").rglob("*.py"), *ROOT.glob("plugins/*/kitty_*/**/*.py")]


def receipt_checked(place: Path) -> subprocess.CompletedProcess[str]:
    """What the page says to type, typed."""
    commands = (DOCS / "why.md").read_text(encoding="utf-8").partition("```sh\n")[2].partition("```")[0]
    return subprocess.run(["sh", "-c", commands], cwd=place, capture_output=True, text=True)


def test_a_receipt_is_proved_by_the_commands_of_the_page_and_a_lie_is_found_out(project: Project) -> None:
    place = project.root.parent / "demo"
    assert project.process("demo", str(place), where=project.root.parent).exit_code == 0
    done = receipt_checked(place)
    assert (done.returncode, done.stderr) == (0, "")
    [file] = place.glob("kitty-specs/*/landing-*.json")
    receipt = json.loads(file.read_text())
    for lane in receipt["lanes"]:
        assert set(lane["commits"]) <= set(done.stdout.splitlines())
        for path in lane["paths"]:
            assert f"{path['new']} A\t{path['path']}\n" in done.stdout
    assert done.stdout.count(hashlib.sha256(file.read_bytes()).hexdigest()) == 2, "of the file, and in the ledger"
    assert done.stdout.count('"to_lane": "approved"') == 5

    def amended(path: Path, text: str) -> int:
        """What the commands say of another commit in place of the one that landed."""
        path.write_text(text)
        project.git("commit", "--quiet", "--all", "--amend", "--no-edit", where=place)
        return receipt_checked(place).returncode

    code, head = place / "greeter" / "core.py", receipt["lanes"][0]["head"]
    before = code.read_text(), file.read_text()
    another = project.git("commit-tree", "-m", "nobody's", f"{head}^{{tree}}", "-p", head, where=place)
    assert amended(code, "nothing\n") != 0, "a path is not as its lane has it"
    assert amended(code, before[0]) == 0
    assert amended(file, before[1].replace(f'"head": "{head}"', f'"head": "{another}"')) != 0, "a head is not there"


def told(begin: str, end: str) -> list[list[str]]:
    """The names in the first column of the tables of a section of the page about interfaces, row by row."""
    text = (DOCS / "interfaces.md").read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]
    return [re.findall(r"`([^`]+)`", row) for row in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)]


def test_the_page_has_the_keys_of_a_decision() -> None:
    told_of = [name for names in told("## 3. A decision", "```console") for name in names]
    assert sorted(told_of) == sorted(["schema", *Decision._fields])


def test_the_page_has_the_keys_of_a_sidecar(project: Project) -> None:
    project.write("plan.md", "# A plan\n")
    assert project.kitty("intake", "plan.md").exit_code == 0
    sidecar = parse_yaml((project.root / ".kittify/brief-source.yaml").read_bytes(), Path("sidecar"), code="NONE")
    told_of = [
        name for names in told("## 4. Where a brief came from", "A pair that spec-kitty wrote") for name in names
    ]
    assert sorted(told_of) == sorted([*sidecar, "previous"])


def test_the_page_has_the_keys_of_rows_and_events(project: Project) -> None:
    mission = project.mission("search", packages=[{"work_package_id": "WP01"}])
    project.record(mission, "WP01", "planned")
    [row] = mission.ledger.rows()
    rows = [
        ("A transition, as", "An annotation:", {*row}),
        ("An annotation:", "Everything else", {*annotation("WP01", {}, actor="ada"), "event_id", "at"}),
        ("Everything else", "The payload of", {*envelope("X", {}, aggregate_id="y"), "event_id", "timestamp"}),
    ]
    sent = wire(
        {"event_id": row["event_id"], "project": str(UUID(int=0)), "mission_id": "m", "mission_slug": "s", "event": row}
    )
    rows.append(("hub is given records", "| name of `event`", {*sent}))
    rows.append(("| name of `event`", "The same row", {*sent["event"]}))
    for begin, end, keys in rows:
        assert {name for names in told(begin, end) for name in names} == keys, begin


def test_the_page_has_what_is_imported_of_the_peers() -> None:
    imported = {
        (name.name, str(node.module))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and re.match("spec_kitty_(events|tracker)", node.module or "")
        for name in node.names
    }
    text = (DOCS / "interfaces.md").read_text(encoding="utf-8").partition("## 2.")[2].partition("## 3.")[0]
    rows = re.findall(r"^\| (`[^|]+) \| `(spec_kitty_[\w.]+)` \|", text, re.MULTILINE)
    assert {(name, module) for names, module in rows for name in re.findall(r"`(\w+)`", names)} == imported
