"""What two lanes do to each other is seen in the status while they are at work, and what is said about it works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Walk


def own(walk: Walk, wp_id: str, *paths: str) -> None:
    """Make a work package own these paths."""
    path = walk.directory / "tasks" / f"{wp_id}-x.md"
    front = {"work_package_id": wp_id, "title": wp_id, "dependencies": [], "owned_files": list(paths)}
    path.write_text("---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items()) + "---\n\n# x\n")


def at_work(walk: Walk) -> dict[str, Path]:
    """Two lanes in which somebody is at work; the worktrees."""
    walk.create()
    walk.write_plan()
    own(walk, "WP02", "wp02.txt")
    for phase in ("specify", "plan", "tasks", "finalize"):
        walk.kitty(phase)
    return {
        wp_id: Path(walk.kitty("implement", wp_id, "--agent", agent).json["workspace_path"])
        for wp_id, agent in (("WP01", "ada"), ("WP02", "bob"))
    }


def foretold(walk: Walk) -> Any:
    return walk.kitty("status").json["missions"][0]["forecast"]


def test_a_conflict_is_seen_settled_and_landed(walk: Walk) -> None:
    places = at_work(walk)
    project = walk.project
    assert foretold(walk) == {"clean": True, "conflicts": [], "reason": ""}
    project.commit("wp01.txt", "one\n", where=places["WP01"])
    project.commit("wp01.txt", "two\n", where=places["WP02"])
    before = project.snapshot()
    (conflict,) = foretold(walk)["conflicts"]
    assert (conflict["lane"], conflict["others"], conflict["kinds"]) == ("lane-b", ["lane-a"], {"wp01.txt": "add/add"})
    lines = project.kitty("status").stdout.splitlines()
    assert "  lane-b will conflict with lane-a in wp01.txt (add/add)" in lines
    assert f"    {conflict['hint']}" in lines
    assert project.snapshot() == before
    walk.kitty("submit", "WP01", "--agent", "ada")
    walk.review("WP01")
    (conflict,) = foretold(walk)["conflicts"]
    merge = re.fullmatch(r"in its worktree: (git merge \S+); settle it, commit, kitty submit WP02", conflict["hint"])
    assert merge, conflict
    subprocess.run(f"{merge[1]} -X ours", shell=True, cwd=places["WP02"], check=True, capture_output=True)
    assert foretold(walk)["clean"] is True
    walk.kitty("submit", "WP02", "--agent", "bob")
    walk.review("WP02")
    walk.kitty("accept")
    walk.kitty("merge")
    assert (project.root / "wp01.txt").read_text() == "two\n"
    assert foretold(walk) is None


def test_whoever_asks_what_is_next_hears_of_the_conflict_before_the_gates_do(walk: Walk) -> None:
    places = at_work(walk)
    for wp_id, agent in (("WP01", "ada"), ("WP02", "bob")):
        walk.project.commit("wp01.txt", f"{wp_id}\n", where=places[wp_id])
        walk.kitty("submit", wp_id, "--agent", agent)
        walk.review(wp_id)
    said = walk.kitty("next", "--agent", "ada").json
    assert said["action"] == "accept"
    assert said["notes"].startswith("lane-b conflicts with lane-a in wp01.txt: settle it where it lands: kitty merge")
    assert walk.project.kitty("merge", "--json").code == "MERGE_CONFLICT"
    [place] = (walk.project.root / ".worktrees").glob("*-conflict")
    (place / "wp01.txt").write_text("both\n")
    walk.project.git("add", "wp01.txt", where=place)
    walk.project.git("commit", "--quiet", "--no-edit", where=place)
    assert walk.project.kitty("merge", "--resume", "--json").code == "MERGE_NOT_ACCEPTED"
    assert walk.kitty("next", "--agent", "ada").json["notes"] is None
    walk.kitty("accept")
    walk.kitty("merge")
    assert (walk.project.root / "wp01.txt").read_text() == "both\n"


def test_a_path_is_handed_over_as_the_hint_says(walk: Walk) -> None:
    places = at_work(walk)
    walk.project.commit("wp02.txt", "one\n", where=places["WP01"])
    (lease,) = walk.kitty("merge", "--preview").json["leases"]
    assert lease["hint"].endswith(
        "or let owned_files of WP01 cover it, and those of WP02 no more, and run: kitty finalize"
    )
    (finding,) = walk.kitty("submit", "WP01", "--agent", "ada").json["findings"]
    assert (finding["code"], finding["hint"]) == ("LEASE", lease["hint"])
    own(walk, "WP01", "wp01.txt", "wp02.txt")
    own(walk, "WP02", "other.txt")
    walk.kitty("finalize")
    assert walk.kitty("merge", "--preview").json["leases"] == []


@pytest.mark.parametrize("question", ["status", "next"])
@pytest.mark.usefixtures("unmeasured")
def test_a_question_with_lanes_at_work_loads_nothing_heavy(
    walk: Walk, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTY_AGENT", "ada")
    places = at_work(walk)
    walk.project.commit("wp01.txt", "one\n", where=places["WP01"])
    assert foretold(walk)["clean"] is True
    script = (
        f"import sys\nfrom kitty_host.cli import run\nassert run(['{question}', '--json']) == 0\nprint(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=walk.project.root, capture_output=True, text=True, check=True
    )
    assert ('"clean": true' if question == "status" else str(places["WP01"])) in done.stdout
    heavy = {"attr", "cattrs", "ruamel.yaml", "importlib.metadata", "asyncio", "hashlib", "random", "msgspec", "shutil"}
    assert heavy.isdisjoint(done.stdout.splitlines()[-1].split())
