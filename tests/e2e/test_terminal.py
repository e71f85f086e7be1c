"""The whole road as a person types it, in a shell on a terminal of its own; and as an agent goes it that reads nothing but JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from kitty_host.testing import Project

PROMPT = "ready> "
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class Terminal:
    """A shell in which somebody types."""

    def __init__(self, place: Path) -> None:
        environment = {**os.environ, "PS1": PROMPT, "PATH": _path(), "TERM": "xterm-256color", "PAGER": "cat"}
        # Without readline, which draws what is typed over and over.
        self.shell = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile", "--noediting", "-i"],
            cwd=str(place),
            env=environment,
            timeout=60,
            encoding="utf-8",
            echo=False,
            dimensions=(40, 110),
        )
        self.shell.expect_exact(PROMPT)

    def types(self, line: str) -> str:
        """Types a line; what came back, without colours."""
        self.shell.sendline(line)
        self.shell.expect_exact(PROMPT)
        return ESCAPE.sub("", self.shell.before).replace("\r", "")

    def kitty(self, line: str) -> str:
        """A command of kitty's that succeeds."""
        said = self.types(f'kitty {line}; echo "exit $?"')
        assert "exit 0" in said, said
        return said.rpartition("exit 0")[0].strip()

    def asks(self, line: str, *answers: tuple[str, str]) -> str:
        """A command that asks: what it asks for, and what is answered."""
        self.shell.sendline(line)
        for question, answer in answers:
            self.shell.expect_exact(question)
            self.shell.sendline(answer)
        self.shell.expect_exact(PROMPT)
        return ESCAPE.sub("", self.shell.before).replace("\r", "")


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture
def terminal(project: Project) -> Terminal:
    """A terminal in an initialized repository."""
    return Terminal(project.root)


def write(project: Project, mission: Path) -> None:
    """What a person writes in an editor."""
    for name, headings in (
        ("spec.md", ("Goal", "Requirements", "Done when")),
        ("plan.md", ("Approach", "Work packages")),
        ("tasks.md", ("Work packages",)),
    ):
        (mission / name).write_text("".join(f"## {heading}\n\ntext\n\n" for heading in headings))
    for wp_id, more in (("WP01", "dependencies: []"), ("WP02", "dependencies: [WP01]")):
        front = f"work_package_id: {wp_id}\ntitle: Make {wp_id}\n{more}\nowned_files: [{wp_id.lower()}.txt]\n"
        project.write(str(mission / f"tasks/{wp_id}-x.md"), f"---\n{front}---\n\n# Make it\n")


def test_a_person_types_the_whole_road(project: Project, terminal: Terminal) -> None:
    project.write("PLAN.md", "# A plan\n\nDo it.\n")
    project.git("add", ".")
    project.git("commit", "--quiet", "-m", "a plan")
    assert "Next: kitty specify" in terminal.kitty("mission create demo")
    (mission,) = (project.root / "kitty-specs").iterdir()
    assert "Made kitty-specs/" in terminal.kitty("specify")
    assert "write this" in (mission / "spec.md").read_text()
    write(project, mission)
    for line, says in (
        ("specify", "complete and committed"),
        ("plan", "Next: kitty tasks"),
        ("tasks", "kitty finalize"),
    ):
        assert says in terminal.kitty(line)
    assert "lane-a" in terminal.kitty("finalize")
    for wp_id in ("WP01", "WP02"):
        assert f"implement {wp_id}" in terminal.kitty("next --agent ada")
        where = re.search(r"work in +(\S+)", terminal.kitty(f"implement {wp_id} --agent ada"))
        assert where is not None
        terminal.types(f"cd {where[1]} && echo hello > {wp_id.lower()}.txt && git add . && git commit -qm '{wp_id}'")
        # Standing in the lane, one need not say who one is.
        assert "waits for review" in terminal.kitty(f"submit {wp_id}")
        terminal.types(f"cd {project.root}")
        assert "in review by grace" in terminal.kitty(f"review {wp_id} --claim --agent grace")
        assert "approved" in terminal.kitty(f"review {wp_id} --approve --agent grace")
    terminal.kitty("accept --agent grace")
    assert "main" in terminal.kitty("merge")
    assert "100" in terminal.kitty("status")
    assert (project.root / "wp02.txt").read_text() == "hello\n"
    assert project.git("status", "--porcelain", "--untracked-files=no") == ""


def test_a_person_is_asked_where_a_pull_request_shall_start(project: Project, terminal: Terminal) -> None:
    said = terminal.asks(
        "kitty mission create demo --pr-bound", ("stay, switch, stop", "switch"), ("name of the branch", "feature/demo")
    )
    assert "will land on main" in said
    (meta,) = (project.root / "kitty-specs").glob("*/meta.json")
    told = json.loads(meta.read_text())["branch_strategy"]
    assert (told["answer"], told["branch"], told["actor"]) == ("switch", "feature/demo", "Test Person")
    assert project.git("branch", "--show-current") == "feature/demo"


@pytest.mark.slow
def test_a_command_is_interrupted_with_the_keyboard(project: Project, terminal: Terminal) -> None:
    """While somebody else holds the ledger: nothing is written, the exit code says so, and the shell goes on."""
    mission = project.mission("demo", [{"work_package_id": "WP01"}])
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(project.root)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    before = mission.ledger.lines()
    terminal.shell.sendline('kitty note WP01 hello --agent ada; echo "exit $?"')
    terminal.shell.expect("(?i)wait")
    terminal.shell.sendintr()
    terminal.shell.expect_exact("exit 130")
    terminal.shell.expect_exact(PROMPT)
    holder.communicate("\n")
    assert mission.ledger.lines() == before
    terminal.kitty("note WP01 hello --agent ada")


_HOLDS = """
import sys
from pathlib import Path
from kitty_host.mission import find_missions
from kitty_host.repo import Repo
(mission,) = find_missions(Repo.find(Path(sys.argv[1])))
with mission.ledger.locked():
    print("held", flush=True)
    sys.stdin.readline()
"""


class Agent:
    """Knows one thing only: to ask what is next and to do what the answer says, from its JSON."""

    def __init__(self, project: Project, name: str) -> None:
        self.project = project
        self.name = name

    def kitty(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            ["kitty", *arguments, "--json"],
            cwd=self.project.root,
            env={**os.environ, "PATH": _path(), "KITTY_AGENT": self.name},
            capture_output=True,
            text=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (1 if "code" in found or found.get("kind") == "blocked" else 0), done
        return found

    def goes_on(self) -> str:
        """One step; what kind it was."""
        said = self.kitty("next", "--result", "success")
        if said["kind"] == "step":
            prompt = Path(said["prompt_file"]).read_text()
            assert said["action"] in prompt or "Write" in prompt
            getattr(self, said["action"])(said)
        return str(said["kind"])

    def specify(self, said: dict[str, Any]) -> None:
        directory = self.project.root / self.kitty("mission", "show")["dir"]
        write(self.project, directory)
        assert self.kitty("specify")["complete"]

    def plan(self, said: dict[str, Any]) -> None:
        assert self.kitty("plan")["complete"]

    def tasks(self, said: dict[str, Any]) -> None:
        assert self.kitty("tasks")["complete"]
        assert self.kitty("finalize")["packages"] == ["WP01", "WP02"]

    def implement(self, said: dict[str, Any]) -> None:
        given = self.kitty("implement", said["wp_id"])
        self.project.commit(f"{said['wp_id'].lower()}.txt", where=Path(given["workspace_path"]))
        assert len(self.kitty("submit", said["wp_id"])["commits"]) == 1

    def review(self, said: dict[str, Any]) -> None:
        assert self.kitty("review", said["wp_id"], "--claim")["lane"] == "in_review"
        assert self.kitty("review", said["wp_id"], "--approve")["approved_commit"]

    def accept(self, said: dict[str, Any]) -> None:
        assert all(gate["ok"] for gate in self.kitty("accept")["gates"])

    def merge(self, said: dict[str, Any]) -> None:
        assert self.kitty("merge")["new"]


def test_two_agents_go_the_whole_road_on_json_alone(project: Project) -> None:
    agents = [Agent(project, "ada"), Agent(project, "grace")]
    agents[0].kitty("mission", "create", "demo")
    kinds: list[str] = []
    while len(kinds) < 40 and "terminal" not in kinds:
        kinds += [agent.goes_on() for agent in agents]
    assert "terminal" in kinds
    assert project.git("show", "main:wp01.txt", "main:wp02.txt")
    assert agents[0].kitty("next")["kind"] == "terminal"
