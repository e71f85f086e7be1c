"""`kitty demo`: a mission on a scratch repository, from plan to landed commits, driven by the commands that a person would type."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.cli import execute
from kitty_host.command import Invocation, command
from kitty_host.git import Git
from kitty_host.plugins import missing
from kitty_runtime import demo_files as files

AUTHOR, HELPER, REVIEWER = "ada", "bob", "grace"
_TYPED = ("intake", "accept", "merge")
"""Commands of other plugins."""


@command("demo")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--plan", type=click.Path(path_type=Path), metavar="FILE", help="A Markdown plan of your own.")
def demo(call: Invocation, directory: Path | None, plan: Path | None) -> None:
    """Watch a mission go from plan to landed commits, in a scratch repository that stays."""
    for name in _TYPED:
        if name not in call.plugins.commands()[0]:
            raise missing(f"the demo types kitty {name}, which no installed plugin brings")
    place, made = _place(call.directory / directory if directory else None)
    tour = _Tour(call, place)
    try:
        tour.take((call.directory / plan).absolute() if plan else None)
    except BaseException:
        # Nothing is left behind: whatever is there was made by this very command.
        shutil.rmtree(place) if made else _empty(place)
        raise
    receipt = tour.receipt
    call.show(
        {
            "schema": "kitty.demo/1",
            "steps": tour.steps,
            "repository": str(place),
            "target_commit": receipt["new"],
            "receipt": receipt["receipt"],
        },
        "\n".join(
            [
                f"\nThe repository stays: {place}",
                "Look around in it:",
                f"  git -C {place} log --graph --oneline",
                f"  kitty -C {place} merge --receipt",
                f"  kitty -C {place} ledger show",
                f"kitty itself is {Path(sys.argv[0]).absolute()}",
                "Then, in a repository of yours: kitty init",
            ]
        ),
    )


class _Tour:
    """Types commands and keeps what they said."""

    def __init__(self, call: Invocation, place: Path) -> None:
        self.call = call
        self.place = place
        self.git = Git(place)
        self.steps: list[str] = []
        self.receipt: dict[str, Any] = {}

    def take(self, plan: Path | None) -> None:
        """The whole road."""
        self.prepare()
        self.plan_in(plan)
        self.kitty("mission", "create", "greeter", "--from-brief", "--agent", AUTHOR)
        mission = self.place / self.answer("mission", "show")["dir"]
        self.write_mission(mission)
        self.work(mission)
        self.say("One landing")
        self.kitty("accept", "--agent", REVIEWER)
        self.kitty("merge")
        self.kitty("status", "--mission", "greeter")
        self.receipt = self.answer("merge", "--receipt", "--mission", "greeter")

    def prepare(self) -> None:
        self.say("A scratch repository with a small program")
        self.typed("git init")
        self.git.run("init", "--quiet", "--initial-branch=main")
        if not self.git.run("config", "--get", "user.name", ok=(0, 1)).stdout.strip():
            self.git.run("config", "user.name", "kitty demo")
        if not self.git.run("config", "--get", "user.email", ok=(0, 1)).stdout.strip():
            self.git.run("config", "user.email", "demo@kitty.invalid")
        self.kitty("init")
        self.write(self.place, files.PROGRAM)
        self.commit(self.place, "A greeter that greets nobody yet")

    def plan_in(self, plan: Path | None) -> None:
        self.say("A foreign plan becomes a brief")
        if plan is None:
            self.write(self.place, {"PLAN.md": files.PLAN})
            self.commit(self.place, "Somebody's plan")
            self.kitty("intake", "PLAN.md")
        else:
            self.kitty("intake", "--from-outside", str(plan))

    def write_mission(self, mission: Path) -> None:
        self.say("Spec, plan, work packages")
        # A plan of the user's may have brought tasks; what the demo's people do is their own.
        for path in mission.glob("tasks/*.md"):
            path.unlink()
        for phase, texts in (
            ("specify", files.SPEC),
            ("plan", files.PLAN_OF_MISSION),
            ("tasks", files.tasks(mission.name)),
        ):
            self.write(mission, texts)
            self.kitty(phase, "--agent", AUTHOR)
        self.kitty("finalize")

    def work(self, mission: Path) -> None:
        self.say("Work in lanes: three packages in sequence, one beside them, one planning artefact")
        self.start(AUTHOR, "WP01")
        self.start(HELPER, "WP04")
        self.finish(AUTHOR, "WP01", mission)
        self.finish(HELPER, "WP04", mission)
        self.start(AUTHOR, "WP02")
        self.start(HELPER, "WP05")
        self.finish(HELPER, "WP05", mission)
        self.say("A review that says no")
        self.submit(AUTHOR, "WP02", mission, files.WORK["WP02"])
        self.kitty("review", "WP02", "--reject", "--reason", "it greets an empty name", "--agent", REVIEWER)
        self.submit(AUTHOR, "WP02", mission, files.CORRECTION)
        self.kitty("review", "WP02", "--approve", "--agent", REVIEWER)
        self.start(AUTHOR, "WP03")
        self.finish(AUTHOR, "WP03", mission)

    def start(self, agent: str, wp_id: str) -> None:
        self.kitty("next", "--agent", agent)
        self.kitty("implement", wp_id, "--agent", agent)

    def finish(self, agent: str, wp_id: str, mission: Path) -> None:
        self.submit(agent, wp_id, mission, files.WORK[wp_id])
        self.kitty("review", wp_id, "--approve", "--agent", REVIEWER)

    def submit(self, agent: str, wp_id: str, mission: Path, texts: dict[str, str]) -> None:
        self.edit(wp_id, self.workspace(wp_id) or mission, texts)
        self.kitty("submit", wp_id, "--agent", agent)
        self.kitty("review", wp_id, "--claim", "--agent", REVIEWER)

    def edit(self, wp_id: str, where: Path, texts: dict[str, str]) -> None:
        """Write files; a worktree's are committed, a planning artefact's are snapshotted by `submit`."""
        self.write(where, texts)
        if where.is_relative_to(self.place / ".worktrees"):
            self.commit(where, f"{wp_id}: {', '.join(texts)}")

    def write(self, where: Path, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            path = where / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())

    def commit(self, where: Path, message: str) -> None:
        at = "" if where == self.place else f" -C {where.relative_to(self.place)}"
        self.typed(f"git{at} add . && git{at} commit -m {shlex.quote(message)}")
        git = Git(where)
        git.run("add", ".")
        git.run("commit", "--quiet", "-m", message)

    def workspace(self, wp_id: str) -> Path | None:
        """The worktree of a work package's lane."""
        lanes = self.answer("lanes", "show")["lanes"]
        found = next(lane["workspace_path"] for lane in lanes if wp_id in lane["wp_ids"])
        return Path(found) if found else None

    def kitty(self, *arguments: str) -> None:
        """Type one command and show what it says."""
        self.typed(shlex.join(["kitty", *arguments]))
        said = self._run(list(arguments))
        if not self.call.json:
            click.secho("\n".join(f"  {line}" for line in said.splitlines()), dim=True)

    def answer(self, *arguments: str) -> dict[str, Any]:
        """Ask a query that nobody would type."""
        said: dict[str, Any] = json.loads(self._run([*arguments, "--json"]))
        return said

    def _run(self, arguments: list[str]) -> str:
        """Standard output of a command that succeeded; an error of its is an error of the demo."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = execute(["-C", str(self.place), *arguments], self.call.plugins)
        if code:
            raise KittyError("DEMO_STEP", f"kitty {shlex.join(arguments)} ended with {code}", err.getvalue().strip())
        return out.getvalue()

    def say(self, text: str) -> None:
        if not self.call.json:
            click.secho(f"\n{text}", bold=True)

    def typed(self, text: str) -> None:
        self.steps.append(text)
        if not self.call.json:
            click.echo(f"$ {text}")


def _place(directory: Path | None) -> tuple[Path, bool]:
    """An empty directory and whether it was made here. Errors: `DEMO_DIRECTORY`."""
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="kitty-demo-")).resolve(), True
    place = directory.absolute()
    made = not os.path.lexists(place)
    if not made and (not place.is_dir() or any(place.iterdir())):
        raise KittyError(
            "DEMO_DIRECTORY", f"{place} is not an empty directory", "name one that is empty or does not exist"
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KittyError("DEMO_DIRECTORY", f"{place} cannot be made: {error.strerror}", "name another one") from error
    return place.resolve(), made


def _empty(place: Path) -> None:
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
