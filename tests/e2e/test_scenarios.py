"""The scenarios without which nothing of kitty's is accepted: whole roads, each step a process of its own."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub import HubProcess
from spec_kitty_events.conformance import validate_event

from kitty_host.testing import Project, Result

ADA = "ada@example.org"
ACTORS = {"implement": "ada", "submit": "ada", "review": "grace", "accept": "grace"}


def run(project: Project, *arguments: str) -> dict[str, Any]:
    """A command that must succeed."""
    done = kitty(project, *arguments)
    assert done.exit_code == 0, (arguments, done)
    return done.json


def kitty(project: Project, *arguments: str) -> Result:
    named = ["--agent", ACTORS[arguments[0]]] if arguments[0] in ACTORS else []
    return project.process(*arguments, *named, "--json")


def mission(project: Project, *packages: dict[str, Any]) -> str:
    """From the idea to the lanes; returns the slug."""
    made = run(project, "mission", "create", "scenario", "--target", "main")
    directory = Path(made["dir"])
    directory = directory if directory.is_absolute() else project.root / directory
    for name, text in (
        ("spec.md", "# S\n\n## Goal\n\ng\n\n## Requirements\n\nr\n\n## Done when\n\nd\n"),
        ("plan.md", "# P\n\n## Approach\n\na\n\n## Work packages\n\nw\n"),
        ("tasks.md", "# T\n\n## Work packages\n\nw\n"),
    ):
        (directory / name).write_text(text)
    (directory / "tasks").mkdir(exist_ok=True)
    for package in packages:
        front = "".join(f"{key}: {json.dumps(value)}\n" for key, value in package.items())
        (directory / "tasks" / f"{package['work_package_id']}-x.md").write_text(f"---\n{front}---\n\n# x\n")
    for step in ("specify", "plan", "tasks", "finalize"):
        run(project, step)
    return str(made["slug"])


def package(wp_id: str, owned: str, *after: str, mode: str = "code_change") -> dict[str, Any]:
    return {
        "work_package_id": wp_id,
        "title": wp_id,
        "dependencies": list(after),
        "owned_files": [owned],
        "execution_mode": mode,
    }


def finish(project: Project, wp_id: str, path: str) -> str:
    """A work package from its claim to its approval; returns the approved commit."""
    where = run(project, "implement", wp_id)["workspace_path"]
    if where:
        project.commit(path, f"{wp_id}\n", where=Path(where))
    else:
        project.write(path, f"{wp_id}\n")
    head = run(project, "submit", wp_id)["head"]
    run(project, "review", wp_id, "--claim")
    assert run(project, "review", wp_id, "--approve")["approved_commit"] == head
    return str(head)


def test_FR_038_SC_001_three_packages_in_sequence_and_a_planning_artefact_land_without_loss(project: Project) -> None:
    slug = mission(
        project,
        package("WP01", "one.txt"),
        package("WP02", "two.txt", "WP01"),
        package("WP03", "three.txt", "WP02"),
        package("WP04", "kitty-specs/**/model.md", mode="planning_artifact"),
    )
    paths = {"WP01": "one.txt", "WP02": "two.txt", "WP03": "three.txt", "WP04": f"kitty-specs/{slug}/model.md"}
    approved = {wp_id: finish(project, wp_id, path) for wp_id, path in paths.items()}
    run(project, "accept")
    landed = run(project, "merge")
    for wp_id, commit in approved.items():
        project.git("merge-base", "--is-ancestor", commit, "main")
        assert project.git("show", f"main:{paths[wp_id]}") == wp_id
    assert project.git("rev-parse", "main") == landed["new"]
    receipt = run(project, "merge", "--receipt")["receipt"]
    told = {change["path"] for lane in receipt["lanes"] for change in lane["paths"]}
    assert set(paths.values()) <= told
    assert project.git("status", "--porcelain") == ""
    shown = run(project, "status", "--mission", slug)["missions"][0]
    assert shown["progress"] == {"done": 4, "approved": 4, "total": 4, "percent": 100}


def test_SC_005_a_review_is_claimed_from_for_review_and_the_counters_are_right_until_after_the_landing(
    project: Project,
) -> None:
    """In the terminal as in JSON: nothing falls back, and nothing is whole before it has landed."""
    slug = mission(project, package("WP01", "one.txt"), package("WP02", "two.txt"))
    seen = [counted(project, slug)]
    for wp_id, path in (("WP01", "one.txt"), ("WP02", "two.txt")):
        where = Path(run(project, "implement", wp_id)["workspace_path"])
        seen.append(counted(project, slug))
        project.commit(path, f"{wp_id}\n", where=where)
        run(project, "submit", wp_id)
        seen.append(counted(project, slug))
        run(project, "review", wp_id, "--claim")
        ledger = project.root / "kitty-specs" / slug / "status.events.jsonl"
        last = json.loads(ledger.read_text().splitlines()[-1])
        assert (last["wp_id"], last["from_lane"], last["to_lane"]) == (wp_id, "for_review", "in_review")
        seen.append(counted(project, slug))
        run(project, "review", wp_id, "--approve")
        seen.append(counted(project, slug))
    assert [one["approved"] for one in seen] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert [one["done"] for one in seen] == [0] * 9
    run(project, "accept")
    run(project, "merge")
    project.git("switch", "--quiet", "-c", "elsewhere")
    seen.append(counted(project, slug))
    assert seen[-1] == {"done": 2, "approved": 2, "total": 2, "percent": 100}
    percents = [one["percent"] for one in seen]
    assert percents == sorted(percents)
    assert percents[-2] < 100
    assert len(set(percents)) > 5, "every step counts"


def counted(project: Project, slug: str) -> dict[str, int]:
    """The progress of a mission, which both forms of `kitty status` tell alike."""
    progress: dict[str, int] = project.kitty("status", "--mission", slug, "--json").json["missions"][0]["progress"]
    shown = project.kitty("status", "--mission", slug).stdout
    assert f"{progress['percent']} %" in shown
    assert f"{progress['done']} of {progress['total']}" in shown
    return progress


def test_FR_039_SC_004_a_repository_that_is_not_initialized_fails_loudly(project: Project) -> None:
    """Beside one that is: there is nothing to find above it, and nothing may be written beside it."""
    sibling = Project(project.root.parent / "sibling")
    sibling.root.mkdir()
    sibling.git("init", "--quiet", "-b", "main")
    sibling.commit("code.txt")
    (sibling.root / "deep").mkdir()
    before = everything(project.root.parent)
    road = [
        ["mission", "create", "x"], ["specify"], ["plan"], ["tasks"], ["finalize"], ["next", "--result", "success"],
        ["implement", "WP01"], ["submit", "WP01"], ["review", "WP01", "--claim"], ["move", "WP01", "planned"], ["accept"],
        ["merge"], ["note", "WP01", "hello"], ["cancel", "WP01", "--reason", "r"], ["lanes", "sync"],
    ]  # fmt: skip
    for command in road:
        for place in (sibling.root, sibling.root / "deep"):
            done = sibling.process(*command, "--json", where=place)
            assert (done.exit_code, done.code) == (1, "SPEC_KITTY_REPO_NOT_INITIALIZED"), (command, done)
            assert done.json["hint"] == f"run: kitty -C {sibling.root} init"
            assert str(sibling.root) in done.json["message"]
    assert everything(project.root.parent) == before


def everything(place: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a directory, the insides of repositories too."""
    return {
        str(path.relative_to(place)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(place.rglob("*"))
        if not path.is_dir()
    }


def test_FR_041_SC_010_contract_drift_is_caught_before_anything_lands(project: Project) -> None:
    """The peer's own events, of which one field goes away without a new version."""
    events = importlib.metadata.distribution("spec-kitty-events")
    installed = project.root / "installed"
    for name in ("spec_kitty_events", f"spec_kitty_events-{events.version}.dist-info"):
        shutil.copytree(Path(str(events.locate_file(name))), installed / name)
    python = project.write("tools/python", f'#!/bin/sh\nPYTHONPATH={installed} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    check = shlex.join([sys.executable, "-m", "kitty_host", "contract", "check"])
    told = {
        "contract": {"packages": [{"distribution": "spec-kitty-events"}], "python": "tools/python"},
        "accept": {"gates": [{"name": "contract", "command": check, "minimum_tests": 0}]},
    }
    config = project.root / ".kittify" / "config.yaml"
    config.write_text(config.read_text() + "".join(f"{key}: {json.dumps(value)}\n" for key, value in told.items()))
    project.write("requirements.txt", f"spec-kitty-events=={events.version}\n")
    project.git("add", "requirements.txt", "tools", ".kittify/config.yaml")
    run(project, "contract", "snapshot")
    project.git("add", "tests")
    project.git("commit", "--quiet", "-m", "pin what we build on")
    mission(project, package("WP01", "one.txt"))
    finish(project, "WP01", "one.txt")

    model = installed / "spec_kitty_events" / "models.py"
    whole = model.read_text()
    field = next(line for line in whole.splitlines() if line.lstrip().startswith("project_slug:"))
    model.write_text(whole.replace(field, field.replace("project_slug", "slug"), 1))
    red = kitty(project, "accept")
    assert (red.exit_code, red.code) == (1, "GATE_FAILED"), red
    [gate] = [one for one in red.json["details"]["gates"] if not one["ok"]]
    assert gate["name"] == "contract"
    assert "CONTRACT_DRIFT" in gate["reason"]
    assert "project_slug" in gate["reason"], gate
    assert kitty(project, "merge").code == "MERGE_NOT_ACCEPTED"

    model.write_text(whole)
    run(project, "accept")
    run(project, "merge")
    assert project.git("show", "main:one.txt") == "WP01"


def log_in(project: Project, hub: HubProcess) -> None:
    """As a person does: with a code that is confirmed elsewhere."""
    command = [sys.executable, "-m", "kitty_host", "auth", "login", hub.address]
    with subprocess.Popen(
        command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        code = ""
        while not code:
            line = process.stderr.readline()
            assert line, "the login ended without a code"
            code = line.partition("confirm the code ")[2].partition(".")[0]
        hub.approve(ADA, code)
        assert process.wait(60) == 0


def modelled(ledger: Path) -> set[str]:
    """The ids of the rows that the package of the peer has a model for."""
    found = set()
    for line in ledger.read_text().splitlines():
        row = json.loads(line)
        if "kind" in row:
            continue
        try:
            validate_event({}, row.get("event_type", "WPStatusChanged"))
        except ValueError:
            continue
        found.add(row["event_id"])
    return found


def test_FR_040_everything_from_the_specification_to_the_landing_reaches_the_server(
    project: Project, hub: HubProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sync on. A server that is down is a failure with a name; the local road goes on all the same."""
    monkeypatch.setenv("SPEC_KITTY_ENABLE_SAAS_SYNC", "1")
    with (project.root / ".kittify/config.yaml").open("a") as stream:
        stream.write("sync:\n  max_retries: 1\n  max_backoff_seconds: 0.1\n")
    hub.add_user(ADA)
    log_in(project, hub)
    slug = mission(project, package("WP01", "one.txt"), package("WP02", "two.txt", "WP01"))
    ledger = project.root / "kitty-specs" / slug / "status.events.jsonl"
    finish(project, "WP01", "one.txt")
    assert run(project, "sync", "status")["missing"] == 0, "every command has queued its own"
    run(project, "sync", "now")
    assert set(hub.events()) == modelled(ledger) != set()

    hub.kill()
    finish(project, "WP02", "two.txt")
    run(project, "accept")
    run(project, "merge")
    down = kitty(project, "sync", "now")
    assert (down.exit_code, down.code) == (1, "SERVER_UNREACHABLE"), down
    assert "given up after 2 attempts" in down.json["message"]

    hub.restart()
    told = run(project, "sync", "flush")
    assert (told["depth"], told["rejected"]) == (0, 0)
    assert set(hub.events()) == modelled(ledger)
    assert told["delivered"] == len(hub.events())
    statuses = {json.loads(line).get("to_lane") for line in ledger.read_text().splitlines()}
    assert {"claimed", "for_review", "in_review", "approved", "done"} <= statuses
