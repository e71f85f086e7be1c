"""Agents are given one file each, those that were named and no others, and what somebody edited is theirs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

import kitty_host
from kitty_host.cli import Kitty
from kitty_host.plugins import Plugins
from kitty_host.testing import Project
from kitty_runtime import agents

FILES = {
    "claude": ".claude/skills/kitty/SKILL.md",
    "codex": ".agents/skills/kitty/SKILL.md",
    "copilot": ".github/skills/kitty/SKILL.md",
    "cursor": ".cursor/skills/kitty/SKILL.md",
    "gemini": ".gemini/skills/kitty/SKILL.md",
    "opencode": ".opencode/skills/kitty/SKILL.md",
}
OURS = {".kittify/config.yaml", "kitty-specs/.gitkeep", ".gitignore", ".gitattributes"}


@pytest.fixture
def ready(project: Project) -> Project:
    """A repository in which `kitty init` has nothing to do."""
    project.kitty("init")
    project.git("add", ".")
    project.git("commit", "--quiet", "-m", "Use kitty")
    return project


def files(project: Project) -> set[str]:
    """What is new or changed, by plain Git."""
    lines = project.git("status", "--porcelain", "--untracked-files=all").splitlines()
    return {line.strip().split(" ", 1)[1] for line in lines}


def earlier(project: Project, agent: str, *, text: str = "# Earlier\n", version: str = "0.0.9") -> Path:
    """A file as an earlier kitty would have written it."""
    digest = agents._digest(text.encode())
    return project.write(FILES[agent], f"{text}<!-- kitty {version} {digest} -->\n")


def available(project: Project) -> list[str]:
    return list(YAML(typ="safe").load(project.root / ".kittify/config.yaml").get("agents", {}).get("available", []))


# What is written


@pytest.mark.parametrize("agent", FILES)
def test_an_agent_is_given_one_file_and_nothing_else_is_touched(ready: Project, agent: str) -> None:
    before, home = ready.snapshot(), sorted(Path.home().rglob("*"))
    done = ready.kitty("init", "--agent", agent, "--json")
    assert done.json["created"] == [".kittify/config.yaml", FILES[agent]]
    assert files(ready) == {".kittify/config.yaml", FILES[agent]}
    after = ready.snapshot()
    new = {path for path in after if before.get(path) != after[path] and after[path] != b"directory"}
    assert {path for path in new if not path.startswith("project/.git/")} == {
        f"project/{path}" for path in done.json["created"]
    }
    assert sorted(Path.home().rglob("*")) == home
    assert available(ready) == [agent]


@pytest.mark.parametrize("agent", FILES)
def test_the_file_is_a_skill_by_the_specification(ready: Project, agent: str) -> None:
    """Name and description within their limits, the name that of the directory; less than two pages of text."""
    ready.kitty("init", "--agent", agent)
    path = ready.root / FILES[agent]
    found = re.fullmatch(r"---\n(.*?\n)---\n(.*)", path.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    front = YAML(typ="safe").load(found[1])
    assert front.keys() == {"name", "description"}
    assert front["name"] == path.parent.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", front["name"])
    assert 0 < len(front["description"]) <= 1024
    assert found[2].lstrip().startswith("# ")
    assert len(path.read_bytes()) < 5000


def test_there_is_one_text_which_names_the_agent() -> None:
    texts = {agents.content(agent).decode().replace(f"`{agent}", "`NAME").rpartition("<!--")[0] for agent in FILES}
    assert len(texts) == 1
    assert "{" not in texts.pop()


def test_the_commands_of_the_text_can_be_typed() -> None:
    group = Kitty(Plugins.discover())
    named = re.findall(r"`kitty ([a-z-]+)([^`]*)`", agents.content("claude").decode())
    assert {"next", "implement", "submit", "review", "note", "mark-status", "status"} <= {name for name, _ in named}
    for name, rest in named:
        command = group.get_command(click.Context(group), name)
        assert command is not None, name
        assert set(re.findall(r"--[a-z-]+", rest)) <= {flag for one in command.params for flag in one.opts}, name


def test_two_agents_are_given_two_files(ready: Project) -> None:
    done = ready.kitty("init", "--agent", "claude", "--agent", "gemini")
    assert files(ready) == {".kittify/config.yaml", FILES["claude"], FILES["gemini"]}
    assert available(ready) == ["claude", "gemini"]
    line = done.stdout.splitlines()[-1].removeprefix("Commit it: ")
    subprocess.run(line, shell=True, cwd=ready.root, check=True, capture_output=True)
    assert files(ready) == set()


def test_doing_it_again_changes_nothing(ready: Project) -> None:
    ready.kitty("init", "--agent", "claude", "--agent", "codex")
    before = ready.snapshot()
    for arguments in (["init", "--agent", "claude"], ["init"], ["init", "--agent", "codex", "--force"]):
        done = ready.kitty(*arguments, "--json")
        assert (done.exit_code, done.json["created"], done.json["kept"]) == (0, [], [])
    assert ready.snapshot() == before


def test_without_a_name_no_agent_is_given_anything(project: Project) -> None:
    """Also where another tool has recorded some."""
    config = project.root / ".kittify/config.yaml"
    config.write_text(config.read_text() + "agents:\n  available: [claude, windsurf]\n")
    project.kitty("init")
    assert files(project) <= OURS
    assert available(project) == ["claude", "windsurf"]


def test_an_unknown_agent_is_refused_with_those_that_are_known(ready: Project) -> None:
    before = ready.snapshot()
    for option in ("--agent", "--remove-agent"):
        done = ready.kitty("init", "--agent", "claude", option, "hal9000", "--json")
        assert (done.exit_code, done.code) == (1, "AGENT_UNKNOWN")
        assert all(agent in done.json["hint"] for agent in FILES)
    assert ready.snapshot() == before


def test_in_a_new_repository_a_refusal_comes_before_anything_is_written(isolated: Path) -> None:
    fresh = Project(isolated / "fresh")
    fresh.root.mkdir()
    fresh.git("init", "--quiet")
    assert fresh.kitty("init", "--agent", "hal9000", "--json").code == "AGENT_UNKNOWN"
    assert [path.name for path in fresh.root.iterdir()] == [".git"]


def test_what_git_ignores_is_not_in_the_line_to_commit(ready: Project) -> None:
    """Which would fail then."""
    ready.commit(".gitignore", (ready.root / ".gitignore").read_text() + ".claude/\n")
    done = ready.kitty("init", "--agent", "claude", "--agent", "codex")
    line = done.stdout.splitlines()[-1].removeprefix("Commit it: ")
    subprocess.run(line, shell=True, cwd=ready.root, check=True, capture_output=True)
    assert files(ready) == set()
    assert (ready.root / FILES["claude"]).is_file()


# A later kitty


@pytest.mark.parametrize("arguments", [[], ["--agent", "claude"]], ids=["init", "init --agent claude"])
def test_a_file_of_an_earlier_kitty_is_brought_up_to_date(ready: Project, arguments: list[str]) -> None:
    path = earlier(ready, "claude")
    done = ready.kitty("init", *arguments, "--json")
    assert FILES["claude"] in done.json["created"]
    assert path.read_bytes() == agents.content("claude")
    assert files(ready) <= {".kittify/config.yaml", FILES["claude"]}


def test_line_ends_of_windows_are_no_edit(ready: Project) -> None:
    path = earlier(ready, "claude")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    ready.kitty("init")
    assert path.read_bytes() == agents.content("claude")


def test_only_another_text_is_a_reason_to_write_and_not_another_version(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.kitty("init", "--agent", "claude")
    before = ready.snapshot()
    monkeypatch.setattr(agents, "__version__", f"{kitty_host.__version__}.post1")
    assert ready.kitty("init", "--json").json["created"] == []
    assert ready.snapshot() == before


def test_a_file_of_a_later_kitty_stays(ready: Project) -> None:
    """Somebody else in the team has it already."""
    ready.kitty("init", "--agent", "claude")
    path = earlier(ready, "claude", version="99.0")
    written = path.read_bytes()
    assert ready.kitty("init", "--json").json["created"] == []
    assert ready.kitty("init", "--agent", "claude", "--json").json["kept"] == [FILES["claude"]]
    assert path.read_bytes() == written


def test_doctor_names_a_file_of_an_earlier_kitty_until_it_is_renewed(ready: Project) -> None:
    earlier(ready, "gemini")
    found = [one for one in ready.kitty("doctor", "--json").json["findings"] if one["code"] == "AGENT_FILE_OLD"]
    assert [(one["path"], one["severity"]) for one in found] == [(FILES["gemini"], "warn")]
    assert "kitty init" in found[0]["hint"]
    ready.kitty("init")
    assert "AGENT_FILE_OLD" not in ready.kitty("doctor").stdout


# What is somebody else's


def test_an_edited_file_stays_and_is_named_with_the_way_to_the_new_text(ready: Project) -> None:
    path = earlier(ready, "claude")
    path.write_bytes(path.read_bytes().replace(b"# Earlier", b"# Mine"))
    written = path.read_bytes()
    for arguments in ([], ["--agent", "claude"]):
        done = ready.kitty("init", *arguments)
        assert done.exit_code == 0
        assert f"Left {FILES['claude']} as it is: it was edited" in done.stdout
        assert "kitty init --agent claude --force" in done.stdout
    assert path.read_bytes() == written


def test_an_edited_file_of_this_very_kitty_is_nothing_to_speak_of(ready: Project) -> None:
    ready.kitty("init", "--agent", "claude")
    path = ready.root / FILES["claude"]
    path.write_bytes(b"---\nname: kitty\n" + path.read_bytes())
    written = path.read_bytes()
    done = ready.kitty("init", "--agent", "claude", "--json")
    assert (done.json["created"], done.json["kept"]) == ([], [])
    assert path.read_bytes() == written


@pytest.mark.parametrize("whose", ["edited", "later", "foreign"])
def test_force_writes_the_text_and_keeps_the_old_one_beside_it(ready: Project, whose: str) -> None:
    path = earlier(ready, "claude", version="99.0" if whose == "later" else "0.0.9")
    if whose != "later":
        path.write_text("# Mine\n" + (path.read_text() if whose == "edited" else ""))
    written = path.read_bytes()
    done = ready.kitty("init", "--agent", "claude", "--force", "--json")
    assert {FILES["claude"], f"{FILES['claude']}.orig"} <= set(done.json["created"])
    assert path.read_bytes() == agents.content("claude")
    kept = ready.root / f"{FILES['claude']}.orig"
    assert kept.read_bytes() == written
    path.write_text("# Mine again\n")
    done = ready.kitty("init", "--agent", "claude", "--force", "--json")
    assert done.code == "AGENT_FILE_IN_THE_WAY"
    assert (path.read_text(), kept.read_bytes()) == ("# Mine again\n", written)


def test_force_is_for_agents_that_were_named(ready: Project) -> None:
    earlier(ready, "claude").write_text("# Mine\n")
    assert ready.kitty("init", "--force").exit_code == 2
    assert (ready.root / FILES["claude"]).read_text() == "# Mine\n"


def test_a_file_of_somebody_else_is_not_overwritten(ready: Project) -> None:
    ready.write(FILES["claude"], "---\nname: kitty\ndescription: A terminal.\n---\n")
    before = ready.snapshot()
    done = ready.kitty("init", "--agent", "codex", "--agent", "claude", "--json")
    assert (done.exit_code, done.code) == (1, "AGENT_FILE_IN_THE_WAY")
    assert done.json["details"]["path"] == FILES["claude"]
    assert ready.snapshot() == before


@pytest.mark.parametrize(
    "level", [".claude", ".claude/skills", ".claude/skills/kitty", ".claude/skills/kitty/SKILL.md"]
)
@pytest.mark.parametrize("there", [True, False], ids=["a target", "dangling"])
def test_a_link_on_the_way_is_refused_and_nothing_is_written_behind_it(ready: Project, level: str, there: bool) -> None:
    elsewhere = ready.root.parent / "elsewhere"
    if there:
        elsewhere.write_text("x") if level.endswith(".md") else elsewhere.mkdir()
    link = ready.root / level
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    before = ready.snapshot()
    for force in ([], ["--force"]):
        done = ready.kitty("init", "--agent", "claude", *force, "--json")
        assert (done.exit_code, done.code) == (1, "AGENT_FILE_IN_THE_WAY")
    assert ready.snapshot() == before
    # Who has no such agent is not bothered.
    assert ready.kitty("init", "--agent", "codex").exit_code == 0
    assert ready.kitty("init").exit_code == 0


def test_a_file_in_place_of_a_directory_is_refused(ready: Project) -> None:
    ready.write(".claude", "x")
    assert ready.kitty("init", "--agent", "claude", "--json").code == "AGENT_FILE_IN_THE_WAY"
    assert (ready.root / ".claude").read_text() == "x"


# And gone again


def test_removing_an_agent_removes_its_file_and_what_became_empty(ready: Project) -> None:
    ready.write(".github/workflows/ci.yml", "on: push\n")
    ready.git("add", ".")
    ready.git("commit", "--quiet", "-m", "mine")
    before = {path: content for path, content in ready.snapshot().items() if not path.startswith("project/.git/")}
    ready.kitty("init", "--agent", "copilot", "--agent", "claude")
    done = ready.kitty("init", "--remove-agent", "copilot", "--remove-agent", "claude", "--json")
    assert done.json["removed"] == [FILES["copilot"], FILES["claude"]]
    after = {path: content for path, content in ready.snapshot().items() if not path.startswith("project/.git/")}
    config = "project/.kittify/config.yaml"
    assert {path: after[path] for path in after if path != config} == {
        path: before[path] for path in before if path != config
    }
    assert available(ready) == []


def test_only_the_agent_that_was_named_is_removed(ready: Project) -> None:
    ready.kitty("init", "--agent", "claude", "--agent", "codex")
    ready.git("add", ".")
    ready.git("commit", "--quiet", "-m", "agents")
    done = ready.kitty("init", "--remove-agent", "claude")
    assert files(ready) == {".kittify/config.yaml", FILES["claude"]}
    assert available(ready) == ["codex"]
    line = done.stdout.splitlines()[-1].removeprefix("Commit it: ")
    subprocess.run(line, shell=True, cwd=ready.root, check=True, capture_output=True)
    assert files(ready) == set()
    assert ready.git("ls-files", ".claude", ".agents") == FILES["codex"]


def test_a_file_that_was_never_committed_is_not_in_the_line_to_commit(ready: Project) -> None:
    ready.kitty("init", "--agent", "claude")
    done = ready.kitty("init", "--remove-agent", "claude")
    assert f"Removed {FILES['claude']}." in done.stdout
    assert done.stdout.splitlines()[-1] == "Commit it: git add .kittify/config.yaml && git commit -m 'Use kitty'"


@pytest.mark.parametrize("whose", ["edited", "foreign"])
def test_what_somebody_wrote_is_not_removed_but_named(ready: Project, whose: str) -> None:
    ready.kitty("init", "--agent", "claude")
    path = ready.root / FILES["claude"]
    path.write_text("# Mine\n" + (path.read_text() if whose == "edited" else ""))
    written = path.read_bytes()
    done = ready.kitty("init", "--remove-agent", "claude", "--json")
    assert (done.json["removed"], done.json["kept"]) == ([], [FILES["claude"]])
    assert path.read_bytes() == written
    assert available(ready) == []


def test_nothing_is_removed_through_a_link(ready: Project) -> None:
    ready.kitty("init", "--agent", "claude")
    elsewhere = ready.root.parent / "elsewhere"
    (ready.root / ".claude").rename(elsewhere)
    (ready.root / ".claude").symlink_to(elsewhere)
    done = ready.kitty("init", "--remove-agent", "claude", "--json")
    assert (done.json["removed"], done.json["kept"]) == ([], [FILES["claude"]])
    assert (elsewhere / "skills/kitty/SKILL.md").is_file()


def test_a_name_that_another_tool_recorded_can_be_taken_off(ready: Project) -> None:
    config = ready.root / ".kittify/config.yaml"
    config.write_text(config.read_text() + "agents:\n  available: [windsurf, claude] # ours\n")
    assert ready.kitty("init", "--remove-agent", "windsurf").exit_code == 0
    assert available(ready) == ["claude"]


def test_the_same_agent_cannot_be_added_and_removed(ready: Project) -> None:
    assert ready.kitty("init", "--agent", "claude", "--remove-agent", "claude").exit_code == 2


def test_from_a_lane_it_goes_to_the_repository(ready: Project) -> None:
    ready.git("worktree", "add", "--quiet", ".worktrees/lane", "-b", "lane")
    lane = ready.root / ".worktrees/lane"
    assert ready.kitty("init", "--agent", "claude", where=lane).exit_code == 0
    assert (ready.root / FILES["claude"]).is_file()
    assert ready.git("status", "--porcelain", where=lane) == ""
