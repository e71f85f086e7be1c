"""What kitty builds on is what it was built against, and what it writes is what the package of the peer takes for valid.

Under `--events VERSION` this is a second environment: the same checks run in a copy of what they read, which pins that version.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from spec_kitty_events import StatusTransitionPayload
from spec_kitty_events.conformance import validate_event

from kitty_host.ledger import event
from kitty_host.testing import Project

ROOT = Path(__file__).parents[2]
SNAPSHOTS = "tests/contract/snapshots"
ROWS = ROOT / SNAPSHOTS / "kitty-rows.json"
PINNED = "11.0.0"

OF_THE_PEER = {
    "MissionCreated",
    "SpecifyCompleted",
    "PlanCompleted",
    "TasksCompleted",
    "WPCreated",
    "ReviewerSelfApproval",
}
OWN = {
    event.LANDED,
    event.UNDONE,
    event.ACCEPTED,
    event.STEP_ISSUED,
    event.STEP_ANSWERED,
    event.CONCLUDED,
    event.SEALED,
    event.SPENT,
    "MissionAdopted",
}


# What is installed


@pytest.fixture
def version(pytestconfig: pytest.Config) -> str:
    """The one of spec-kitty-events that this environment is said to have."""
    return str(pytestconfig.getoption("--events") or PINNED)


@pytest.fixture
def copy(tmp_path: Path, version: str) -> Path:
    """A checkout that has of this one what a check reads, and pins what this environment is said to have."""
    for name in (".kittify/config.yaml", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        text = (
            (ROOT / name)
            .read_text()
            .replace(f"spec-kitty-events[conformance]=={PINNED}", f"spec-kitty-events=={version}")
        )
        (tmp_path / name).write_text(text)
    shutil.copytree(ROOT / SNAPSHOTS, tmp_path / SNAPSHOTS)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path


def check(place: Path, *arguments: str, path: Path | None = None) -> list[dict[str, Any]]:
    """The findings of `kitty contract check`, asked of the Python that runs the tests."""
    command = [
        sys.executable,
        "-m",
        "kitty_host",
        "contract",
        "check",
        *arguments,
        "--python",
        sys.executable,
        "--json",
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KITTY_")}
    ahead = {"PYTHONPATH": str(path)} if path else {}
    done = subprocess.run(command, cwd=place, env={**kept, **ahead}, capture_output=True, text=True)
    said = json.loads(done.stdout)
    assert (done.returncode, said.get("ok", said.get("code"))) in ((0, True), (1, "CONTRACT_DRIFT")), said
    found: list[dict[str, Any]] = said.get("findings") or said.get("details", {}).get("findings", [])
    assert bool(found) == bool(done.returncode)
    return found


def test_what_kitty_builds_on_is_as_it_was(pytestconfig: pytest.Config, copy: Path) -> None:
    """Of this repository itself, by the command; elsewhere of the copy."""
    assert check(copy if pytestconfig.getoption("--events") else ROOT) == []


def test_another_version_than_the_pinned_one_fails(copy: Path, version: str) -> None:
    project = copy / "pyproject.toml"
    project.write_text(project.read_text().replace(f"spec-kitty-events=={version}", "spec-kitty-events==10.0.0"))
    [finding] = check(copy, "spec-kitty-events")
    assert finding["message"] == f"spec-kitty-events {version} is installed, but pyproject.toml wants ==10.0.0"


def test_a_missing_snapshot_fails_and_names_the_command(copy: Path, version: str) -> None:
    (copy / SNAPSHOTS / f"spec-kitty-events-{version}.json").unlink()
    [finding] = check(copy, "spec-kitty-events")
    assert finding["hint"] == "make it: kitty contract snapshot spec-kitty-events"


def test_a_field_that_the_snapshot_lacks_fails(copy: Path, version: str) -> None:
    path = copy / SNAPSHOTS / f"spec-kitty-events-{version}.json"
    said = json.loads(path.read_text())
    del said["modules"]["spec_kitty_events"]["Event"]["schema"]["properties"]["build_id"]
    path.write_text(json.dumps(said))
    [finding] = check(copy, "spec-kitty-events")
    assert finding["message"].endswith("spec_kitty_events.Event.schema.properties.build_id was added")


def test_a_field_that_the_package_lacks_fails(copy: Path, tmp_path: Path) -> None:
    """The installed package, with one field taken out, in front of the installed one."""
    spec = find_spec("spec_kitty_events")
    assert spec is not None
    assert spec.origin is not None
    site = tmp_path / "site"
    shutil.copytree(Path(spec.origin).parent, site / "spec_kitty_events")
    assert check(copy, "spec-kitty-events", path=site) == [], "a copy is no difference"
    module = site / "spec_kitty_events" / "status.py"
    tree = ast.parse(module.read_text(encoding="utf-8"))
    [payload] = [one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == "StatusTransitionPayload"]
    payload.body = [one for one in payload.body if getattr(getattr(one, "target", None), "id", "") != "review_ref"]
    module.write_text(ast.unparse(tree), encoding="utf-8")
    messages = [finding["message"] for finding in check(copy, "spec-kitty-events", path=site)]
    assert any("StatusTransitionPayload.schema.properties.review_ref was removed" in one for one in messages), messages


def test_tests_that_need_what_this_version_has_not_do_not_exist(version: str) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-n", "0", "-p", "no:cacheprovider", "tests/ledger"]
    done = subprocess.run([*command, "--events", version], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "tests/ledger/test_machine.py" in done.stdout
    assert ("tests/ledger/test_model.py" in done.stdout) == bool(find_spec("spec_kitty_events.diary"))


# What kitty writes


@pytest.fixture
def rows(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The ledgers of three missions: one goes the whole road and back, with every detour; one has nothing to land; one is adopted."""
    monkeypatch.delenv("KITTY_PLUGINS", raising=False)
    ledgers = (walk(project), conclude(project), adopt(project))
    return [json.loads(line) for ledger in ledgers for line in ledger.read_text().splitlines()]


def walk(project: Project) -> Path:
    def kitty(line: str, *more: str) -> dict[str, Any]:
        done = project.kitty(*line.split(), *more, "--json")
        assert done.exit_code == 0, (line, done)
        return done.json

    project.commit(
        ".kittify/config.yaml", (project.root / ".kittify/config.yaml").read_text() + "review:\n  allow_self: true\n"
    )
    slug = kitty("mission create road --target main")["slug"]
    directory = project.root / "kitty-specs" / slug
    for name, headings in (
        ("spec.md", ("Goal", "Requirements", "Done when")),
        ("plan.md", ("Approach", "Work packages")),
        ("tasks.md", ("Work packages",)),
    ):
        project.write(str(directory / name), "# x\n\n" + "".join(f"## {heading}\n\ntext\n\n" for heading in headings))
    for wp_id in ("WP01", "WP02", "WP03"):
        front = (
            f"work_package_id: {wp_id}\ntitle: {wp_id}\nsubtasks: []\ndependencies: []\nowned_files: [{wp_id}.txt]\n"
        )
        project.write(str(directory / "tasks" / f"{wp_id}-x.md"), f"---\n{front}---\n\n# x\n")
    for phase in ("specify", "plan", "tasks", "finalize"):
        kitty(phase)
    kitty("next --result success --agent ada")
    kitty("next --result failed --agent ada")
    kitty("move WP02 blocked --agent ada --reason waiting")
    kitty("cancel WP02 --agent ada --reason unwanted")
    kitty("cancel WP03 --agent ada --reason unwanted")
    place = kitty("implement WP01 --agent ada")["workspace_path"]
    project.commit("WP01.txt", where=Path(place))
    kitty("note WP01 so --agent ada")
    kitty("effort WP01 --seconds 60 --tokens 100 --cost 0.25 --agent ada")
    kitty("effort WP01 --tokens 100 --agent ada")
    kitty("submit WP01 --agent ada")
    kitty("review WP01 --claim --agent grace")
    kitty("review WP01 --reject --reason again --agent grace")
    kitty("implement WP01 --agent ada")
    kitty("submit WP01 --agent ada")
    kitty("review WP01 --claim --agent ada")
    kitty("review WP01 --approve --agent ada")
    for line in ("accept --agent ada", "merge", "merge --undo", "accept --agent ada", "merge"):
        kitty(line)
    return directory / "status.events.jsonl"


def conclude(project: Project) -> Path:
    """A mission of a type without packages: over when its last step was answered."""
    made = project.kitty("mission", "create", "planned", "--type", "plan", "--agent", "ada", "--json").json
    directory = project.root / made["dir"]
    for name in ("spec.md", "research.md", "plan.md"):
        headings = ("Goal", "Requirements", "Done when", "Questions", "Findings", "Approach", "Work packages", "Risks")
        project.write(str(directory / name), "".join(f"## {heading}\n\ntext\n\n" for heading in headings))
    for kind in ("step", "terminal"):
        said = project.kitty("next", "--result", "success", "--agent", "ada", "--mission", made["slug"], "--json").json
        assert said["kind"] == kind
    return directory / "status.events.jsonl"


def adopt(project: Project) -> Path:
    """A mission of the peer's, on a coordination branch."""
    mission = project.mission("theirs", topology="coord", coordination_branch="kitty/mission-theirs")
    place = project.root / ".worktrees" / f"{mission.slug}-coord"
    project.git("worktree", "add", "--quiet", "-b", "kitty/mission-theirs", str(place))
    project.write(f"kitty-specs/{mission.slug}/status.events.jsonl", "", where=place)
    project.git("add", ".", where=place)
    project.git("commit", "--quiet", "-m", "coordinate", where=place)
    done = project.kitty("mission", "adopt", mission.slug, "--agent", "ada")
    assert done.exit_code == 0, done
    ledger: Path = mission.directory / "status.events.jsonl"
    return ledger


def payload_of(row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """An event type of the peer and its payload: a transition is its `WPStatusChanged`."""
    if "event_type" in row:
        return row["event_type"], row["payload"]
    return "WPStatusChanged", {key: row[key] for key in StatusTransitionPayload.model_fields if key in row}


def objections(row: dict[str, Any]) -> list[str] | None:
    """What the package minds; None where it has no model for such a row."""
    kind, payload = payload_of(row)
    try:
        said = validate_event(payload, kind, strict=True)
    except ValueError:
        return None
    model = [f"{kind}: {one.field}: {one.message}" for one in said.model_violations]
    return model + [f"{kind}: {one.json_path}: {one.message}" for one in said.schema_violations]


def test_every_row_that_has_a_model_is_valid_by_it(rows: list[dict[str, Any]], version: str) -> None:
    judged = {payload_of(row)[0]: 0 for row in rows if "kind" not in row}
    for row in rows:
        minded = objections(row) if "kind" not in row else None
        if minded is not None:
            assert minded == [], row
            judged[payload_of(row)[0]] += 1
    without = {kind for kind, number in judged.items() if number == 0}
    older = {"ReviewerSelfApproval"} if version.startswith("6.") else set()
    assert without == OWN | older, "kitty's own rows have none, and every other has been seen"
    assert set(judged) - without == OF_THE_PEER - older | {"WPStatusChanged"}


def test_a_row_that_lacks_a_key_would_be_minded(rows: list[dict[str, Any]]) -> None:
    for kind in ("WPStatusChanged", "WPCreated", "MissionCreated"):
        row = next(row for row in rows if "kind" not in row and payload_of(row)[0] == kind)
        assert objections(row) == []
        del row.get("payload", row)["mission_slug"]
        assert objections(row)


def shape(value: Any) -> Any:
    """Keys and JSON types; where the keys are ids they are one, `*`."""
    if isinstance(value, dict):
        if value and all(map(event.is_ulid, value)):
            return {"*": merged([shape(one) for one in value.values()])}
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [merged([shape(one) for one in value])] if value else []
    return {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}[type(value)]


def merged(shapes: list[Any]) -> Any:
    """One shape for several: what only some have ends in a question mark, and what differs is listed."""
    distinct = list({json.dumps(one, sort_keys=True): one for one in shapes if one != []}.values())
    if not distinct:
        return []
    if all(isinstance(one, dict) for one in distinct):
        keys = sorted({key for one in distinct for key in one})
        return {
            key if all(key in one for one in distinct) else f"{key}?": merged(
                [one[key] for one in distinct if key in one]
            )
            for key in keys
        }
    if all(isinstance(one, list) for one in distinct):
        return [merged([one[0] for one in distinct])]
    return distinct[0] if len(distinct) == 1 else sorted(distinct, key=lambda one: json.dumps(one, sort_keys=True))


def test_kittys_own_rows_are_as_they_were(rows: list[dict[str, Any]]) -> None:
    """Where the change is meant: delete the file, run this once, look at what it wrote and commit it."""
    kinds: dict[str, list[Any]] = {}
    for row in rows:
        kinds.setdefault(row.get("event_type") or row.get("kind") or "transition", []).append(shape(row))
    found = {kind: merged(shapes) for kind, shapes in kinds.items()}
    if not ROWS.exists():
        ROWS.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
        pytest.fail(f"there was no {ROWS.relative_to(ROOT)}; there is now: look at it and commit it")
    assert found == json.loads(ROWS.read_text())
    assert set(found) == OWN | OF_THE_PEER | {"transition", "annotation"}
