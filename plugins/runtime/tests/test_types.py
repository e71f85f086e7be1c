"""Mission types: one schema for every tier; what is not valid is named with path and line, and hides no other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kitty_host.plugins import Plugins
from kitty_host.records import MissionType, Step
from kitty_host.repo import Repo
from kitty_runtime.discovery import SHIPPED, mission_types, read_type
from kitty_runtime.types import ACTIONS, faults, named, whole

if TYPE_CHECKING:
    from conftest import Road

HEAD = "mission: {key: spike, name: Spike, version: 1.0.0}\n"
SPIKE = HEAD + "steps:\n  - id: explore\n    artifact: notes.md\n  - id: report\n    title: Tell the others\n"


def own(road: Road, text: str, key: str = "spike") -> Path:
    """A type of the project's own."""
    return road.project.write(f".kittify/missions/{key}/mission-runtime.yaml", text)


def listed(road: Road) -> dict[str, Any]:
    return road("mission", "types")


def test_the_shipped_types_are_valid_and_say_what_they_are(road: Road) -> None:
    said = listed(road)
    assert said["invalid"] == []
    assert {one["key"]: one["steps"] for one in said["types"]} == {
        "software-dev": ["specify", "plan", "tasks", "implement", "review", "accept", "merge"],
        "research": ["scoping", "methodology", "tasks", "gathering", "review", "synthesis", "accept", "merge"],
        "documentation": ["discover", "audit", "design", "tasks", "generate", "validate", "accept", "publish"],
        "plan": ["specify", "research", "plan", "review"],
    }
    for path in SHIPPED.glob("*.yaml"):
        found = read_type(path, {})
        assert found.key == path.stem
        assert found.description
        assert all(step.action in ACTIONS and step.title != step.id for step in found.steps)


def test_a_type_of_the_project_is_found_and_used(road: Road) -> None:
    own(road, SPIKE)
    assert "spike" in {one["key"] for one in listed(road)["types"]}
    said = road("mission", "create", "demo", "--type", "spike")
    assert said["type"] == "spike"
    assert road("next", "--agent", "ada")["preview_step"] == "explore"


def test_a_third_party_brings_a_type_as_a_file_or_as_a_record(
    road: Road, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install_plugin(
        "spikes",
        "from pathlib import Path\nfrom kitty_host.api import hookimpl\n\n@hookimpl\ndef kitty_mission_types():\n"
        "    from kitty_host.records import MissionType, Step\n"
        "    yield Path(__file__).with_name('spike.yaml')\n"
        "    yield MissionType('probe', 'Probe', '1', (Step('look', 'Look'),), 'kitty-spikes')\n",
    )
    (site / "spike.yaml").write_text(SPIKE)
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,lanes,spikes")
    found = {one["key"]: one["source"] for one in listed(road)["types"]}
    assert found["spike"] == str(site / "spike.yaml")
    assert found["probe"] == "kitty-spikes"
    for key in ("spike", "probe"):
        road("mission", "create", f"a-{key}", "--type", key)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("mission: [", 2, "did not find expected node content"),
        ("steps: []\n", 1, "mission is no mapping"),
        (HEAD, 1, "steps are a list"),
        (HEAD + "steps: []\n", 2, "there are no steps"),
        ("mission: {name: x, version: 1}\nsteps:\n  - id: a\n", 1, "version is no text"),
        ("mission: {name: x, version: '1'}\nsteps:\n  - id: a\n", 1, "nothing is no key"),
        (HEAD + "steps:\n  - id: a\n  - id: a\n", 4, "two steps a"),
        (HEAD + "steps:\n  - id: a\n  - id: unknown\n", 4, "unknown is no name for a step"),
        (HEAD + "steps:\n  - id: a\n\n  - id: b\n    title: 5\n", 6, "title is no text"),
        (HEAD + "steps:\n  - id: a\n    artefact: a.md\n", 4, "nobody knows a key artefact"),
        (HEAD + "steps:\n  - id: a\n    artifact: ../a.md\n", 4, "is no file that a step may make"),
        (HEAD + "steps:\n  - id: a\n    artifact: status.events.jsonl\n", 4, "is no file that a step may make"),
        (HEAD + "steps:\n  - id: a\n    artifact: a.md\n  - id: b\n    artifact: a.md\n", 6, "two steps make a.md"),
        (HEAD + "steps:\n  - id: a\n    action: dance\n", 4, "dance is no action"),
        (HEAD + "steps:\n  - id: a\n    action: write\n", 3, "nothing of the file"),
        (HEAD + "steps:\n  - id: a\n    depends_on: [b]\n  - id: b\n", 4, "b is no step before this one"),
        (HEAD + "steps:\n  - id: a\n    prompt_template: ../../config.yaml\n", 4, "leads out of"),
        (HEAD + "steps:\n  - id: a\n    prompt_template: gone.md\n", 4, "No such file"),
        (HEAD + "steps:\n  - id: a\n    parts: [{heading: X}, {heading: x}]\n", 4, "no two are the same"),
        (HEAD + "steps:\n  - id: review\n  - id: implement\n", 4, "implement comes too late"),
        (HEAD + "steps:\n  - id: a\n  - id: merge\n", 4, "nothing to merge"),
        (HEAD + "steps:\n  - just a text\n", 3, "steps is no mapping"),
    ],
)
def test_an_invalid_type_is_named_with_path_and_line_and_the_others_stay(
    road: Road, text: str, line: int, says: str
) -> None:
    path = own(road, text)
    said = listed(road)
    assert len(said["types"]) == 4
    (finding,) = said["invalid"]
    assert finding["code"] == "MISSION_TYPE_INVALID"
    assert f"{path}, line {line}: " in finding["message"]
    assert says in finding["message"]
    assert listed(road) == said, "it is the same from the cache"
    assert finding["message"] in road.project.kitty("mission", "types").stdout
    told = road.refuses("MISSION_TYPE_INVALID", "mission", "create", "demo", "--type", "spike")
    assert told == finding["message"]
    road("mission", "create", "demo")


@pytest.mark.parametrize(
    "found",
    [
        "MissionType('Bad Key', 'x', '1', (Step('a', 'A'),))",
        "MissionType('x', 'x', '1', ())",
        "MissionType('x', 'x', '1', (Step('a', 'A', action='dance'),))",
        "MissionType('x', 'x', '1', ('a',))",
        "MissionType(5, 'x', '1', (Step('a', 'A'),))",
        "'spike'",
        "None",
    ],
)
def test_what_a_plugin_makes_passes_the_same_schema(
    road: Road, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    install_plugin(
        "spikes",
        "from kitty_host.api import hookimpl\n\n@hookimpl\ndef kitty_mission_types():\n"
        f"    from kitty_host.records import MissionType, Step\n    return [{found}]\n",
    )
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,lanes,spikes")
    said = listed(road)
    assert len(said["types"]) == 4
    assert [one["code"] for one in said["invalid"]] == ["MISSION_TYPE_INVALID"]


def test_two_types_of_one_name_refuse_and_both_are_named(road: Road) -> None:
    """Whoever came first: neither may silently take the place of the other."""
    road("mission", "create", "demo")
    path = own(road, SPIKE.replace("key: spike", "key: software-dev"), "mine")
    said = listed(road)
    assert "software-dev" not in {one["key"] for one in said["types"]}
    (finding,) = said["invalid"]
    assert finding["code"] == "MISSION_TYPE_CLASH"
    told = road.refuses("MISSION_TYPE_CLASH", "mission", "create", "again")
    assert path.name in told
    assert "software-dev.yaml" in told
    decision = road("next", "--agent", "ada")
    assert decision["kind"] == "blocked"
    assert decision["reason"] == f"MISSION_TYPE_CLASH: {told}"


def test_a_change_of_the_file_or_of_its_prompt_is_seen(road: Road) -> None:
    path = own(road, SPIKE + "    prompt_template: how.md\n")
    prompt = path.with_name("how.md")
    repo = Repo.find(road.root)

    def prompts() -> list[str]:
        found = mission_types(Plugins([]), repo)
        return [step.prompt for step in found.known["spike"].steps] if "spike" in found.known else []

    assert prompts() == []
    prompt.write_text("Do it so.")
    assert prompts() == ["", "Do it so."]
    prompt.write_text("Do it otherwise.")
    assert prompts() == ["", "Do it otherwise."]
    path.write_text(SPIKE)
    assert prompts() == ["", ""]
    (repo.cache / "mission-types.json").write_bytes(b"\xff{")
    assert prompts() == ["", ""]


def test_what_work_needs_is_added(road: Road) -> None:
    """A type of Spec Kitty ends with `accept`, and says nothing of files."""
    own(road, HEAD + "steps:\n  - id: specify\n  - id: implement\n  - id: accept\n")
    road("mission", "create", "demo", "--type", "spike")
    found = {one["key"]: one["steps"] for one in listed(road)["types"]}
    assert found["spike"] == ["specify", "tasks", "implement", "review", "accept", "merge"]
    assert road("specify")["artifact"].endswith("spec.md")


def test_every_action_but_work_can_stand_anywhere() -> None:
    steps = (Step("a", "A"), Step("b", "B", artifact="b.md"), Step("implement", "I"), Step("c", "C", artifact="c.md"))
    made = named(MissionType("x", "x", "1", steps))
    assert list(faults(made)) == []
    assert [step.action for step in whole(made).steps] == [
        "answer",
        "write",
        "tasks",
        "implement",
        "review",
        "write",
        "merge",
    ]


def test_a_type_of_the_project_survives_a_landing_and_a_deleted_worktree(road: Road) -> None:
    """FR-036: whoever looks from a worktree that is gone a moment later, or in a fresh process, finds it."""
    tree = road.root / ".worktrees" / "side"
    road.project.git("worktree", "add", "--quiet", "-b", "side", str(tree))
    road.project.commit(".kittify/missions/spike/mission-runtime.yaml", SPIKE, where=tree)
    assert "spike" not in {one["key"] for one in listed(road)["types"]}, "it is in no canonical checkout yet"
    road.project.git("merge", "--quiet", "--no-ff", "-m", "land", "side")
    road("mission", "create", "demo", "--type", "spike", where=tree)
    road.project.git("worktree", "remove", "--force", str(tree))
    road.project.git("gc", "--quiet")
    done = road.project.process("next", "--agent", "ada", "--json")
    assert (done.exit_code, done.json["preview_step"]) == (0, "explore")


def test_a_question_about_types_works_outside_a_repository(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kitty_host", "mission", "types", "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert '"documentation"' in done.stdout
    assert list(tmp_path.iterdir()) == []
