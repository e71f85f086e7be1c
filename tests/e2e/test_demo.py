"""The demo: a mission goes from a foreign plan to commits on the target branch of a real repository; plain Git agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kitty_host.testing import Project, Result

PLAN = "# Greet in every language\n\nPeople shall be greeted in the language they ask for.\n"


def demo(project: Project, *arguments: str) -> Result:
    return project.process("demo", *arguments, where=project.root.parent)


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=repository, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def landed(project: Project) -> tuple[Path, dict[str, object]]:
    """A finished demo: its repository and what it printed."""
    place = project.root.parent / "demo"
    done = demo(project, str(place), "--json")
    assert done.exit_code == 0, done
    return place, done.json


def test_every_commit_of_every_lane_is_on_the_target(landed: tuple[Path, dict[str, object]]) -> None:
    place, said = landed
    branches = git(place, "for-each-ref", "--format=%(refname)", "refs/heads/kitty/").splitlines()
    assert len(branches) == 3, "two code lanes and the planning lane"
    assert any(branch.endswith("lane-planning") for branch in branches)
    assert git(place, "rev-list", *branches, "--not", "main") == ""
    assert git(place, "rev-parse", "main") == said["target_commit"]


def test_the_checkout_is_clean_and_the_program_runs(landed: tuple[Path, dict[str, object]]) -> None:
    place, _ = landed
    assert git(place, "status", "--porcelain") == ""
    done = subprocess.run(
        [sys.executable, "-m", "greeter", "Ada"], cwd=place, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "Hello, Ada!"
    assert not (place / ".worktrees").exists()


def test_the_receipt_accounts_for_every_path_that_plain_git_sees(landed: tuple[Path, dict[str, object]]) -> None:
    place, said = landed
    receipt = said["receipt"]
    assert isinstance(receipt, dict)
    told = {path["path"] for lane in receipt["lanes"] for path in lane["paths"]}
    seen = set(git(place, "diff", "--name-only", receipt["old"], receipt["new"]).splitlines())
    records = {path for path in seen if path.startswith("kitty-specs/") and path.endswith((".jsonl", "meta.json"))}
    records |= {path for path in seen if "/landing-" in path}
    assert told == seen - records
    assert {one for lane in receipt["lanes"] for one in lane["commits"]} == set(
        git(place, "rev-list", "--no-merges", f"{receipt['old']}..{receipt['new']}^").splitlines()
    )


def test_a_review_was_rejected_and_then_approved(landed: tuple[Path, dict[str, object]]) -> None:
    place, _ = landed
    ledger = next(place.glob("kitty-specs/*/status.events.jsonl"))
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    verdicts = [row["review_result"]["verdict"] for row in rows if row.get("review_result")]
    assert verdicts.count("changes_requested") == 1
    assert verdicts.count("approved") == 5
    assert git(place, "show", f"main:{ledger.relative_to(place)}").splitlines() == ledger.read_text().splitlines()


def test_every_step_is_a_command_that_a_person_would_type(landed: tuple[Path, dict[str, object]]) -> None:
    _, said = landed
    steps = said["steps"]
    assert isinstance(steps, list)
    typed = [step.split()[1] for step in steps if step.startswith("kitty ")]
    for command in (
        "init",
        "intake",
        "mission",
        "specify",
        "plan",
        "tasks",
        "finalize",
        "implement",
        "submit",
        "review",
        "accept",
        "merge",
    ):
        assert command in typed


def test_any_markdown_plan_will_do(project: Project) -> None:
    plan = project.root.parent / "their plan.md"
    plan.write_text(PLAN)
    place = project.root.parent / "demo"
    done = demo(project, str(place), "--plan", str(plan), "--json")
    assert done.exit_code == 0, done
    meta = json.loads(next(place.glob("kitty-specs/*/meta.json")).read_text())
    assert meta["friendly_name"] == "Greet in every language"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "INTAKE_FILE_MISSING"),
        (b"", "INTAKE_EMPTY"),
        (b"\x00\xff\xfe binary", "INTAKE_FILE_UNDECODABLE"),
        (b"# plan\n" + b"x" * 6_000_000, "INTAKE_TOO_LARGE"),
    ],
    ids=["missing", "empty", "binary", "6 MB"],
)
def test_a_plan_that_is_none_refuses_and_leaves_nothing_behind(
    project: Project, content: bytes | None, code: str
) -> None:
    plan = project.root.parent / "plan.md"
    if content is not None:
        plan.write_bytes(content)
    before = sorted(project.root.parent.iterdir())
    done = demo(project, str(project.root.parent / "demo"), "--plan", str(plan), "--json")
    assert (done.exit_code, done.code) == (1, code)
    assert sorted(project.root.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("plugins", "lacking"), [("runtime,merge,charter", "intake"), ("runtime,intake,merge", "accept")]
)
def test_what_it_cannot_type_to_the_end_it_does_not_begin(
    project: Project, plugins: str, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTY_PLUGINS", plugins)
    before = project.snapshot()
    done = demo(project, str(project.root.parent / "demo"), "--json")
    assert (done.exit_code, done.code) == (1, "PLUGIN_MISSING")
    assert f"kitty {lacking}" in done.json["message"]
    assert project.snapshot() == before


def test_a_directory_with_something_in_it_is_left_alone(project: Project) -> None:
    before = project.snapshot()
    done = demo(project, str(project.root), "--json")
    assert (done.exit_code, done.code) == (1, "DEMO_DIRECTORY")
    assert project.snapshot() == before


def test_the_peer_reads_what_was_written(landed: tuple[Path, dict[str, object]]) -> None:
    from spec_kitty_events.diary import reduce as theirs

    from kitty_host.ledger.event import decode
    from kitty_host.ledger.reduce import reduce as ours

    place, _ = landed
    ledger = next(place.glob("kitty-specs/*/status.events.jsonl"))
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    said, mine = theirs(rows).to_dict(), ours(decode(row) for row in rows).to_dict()
    assert {key: said[key] for key in mine} == mine
    assert said["summary"]["done"] == 5
