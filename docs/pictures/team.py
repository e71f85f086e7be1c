"""The mission of the pictures: nine work packages of three people, in the middle of their work.

`python docs/pictures/team.py DIR` makes its repository there, to look at.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

KITTY = [sys.executable, "-m", "kitty_host"]
HEADINGS = {
    "spec.md": ("Goal", "Requirements", "Done when"),
    "plan.md": ("Approach", "Work packages"),
    "tasks.md": ("Work packages",),
}
PACKAGES: tuple[tuple[str, str, tuple[str, ...], str, str], ...] = (
    ("WP01", "An index of all messages", (), "search/index.py", "code_change"),
    ("WP02", "What can be asked for: words, phrases, dates", ("WP01",), "search/query.py", "code_change"),
    ("WP03", "The best answers first", ("WP01",), "search/rank.py", "code_change"),
    ("WP04", "Found words are marked", (), "search/marks.py", "code_change"),
    ("WP05", "A command line", ("WP02", "WP03"), "search/__main__.py", "code_change"),
    ("WP06", "A page of the manual", (), "docs/search.md", "code_change"),
    ("WP07", "Mailboxes of before 2009", (), "search/old.py", "code_change"),
    ("WP08", "A form on the web site", (), "web/form.html", "code_change"),
    ("WP09", "What a word is", (), "kitty-specs/{slug}/words.md", "planning_artifact"),
)


class Team:
    """Three people and a repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.slug = ""

    def kitty(self, line: str, *more: str) -> dict[str, Any]:
        """A command that must succeed."""
        command = [*KITTY, "-C", str(self.root), *line.split(), *more, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{line}: {done.stdout}{done.stderr}")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def git(self, *arguments: str, where: Path | None = None) -> None:
        """Plain Git."""
        subprocess.run(["git", *arguments], cwd=where or self.root, check=True, capture_output=True)

    def commit(self, where: Path, name: str, text: str = "text\n") -> None:
        """A file, committed."""
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.git("add", ".", where=where)
        self.git("commit", "--quiet", "-m", f"Add {name}", where=where)

    def plan(self) -> None:
        """A repository with a mission whose work packages have their lanes."""
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "ada")
        self.git("config", "user.email", "ada@example.invalid")
        self.kitty("init")
        self.commit(self.root, "README.md", "# Letters\n")
        self.slug = self.kitty("mission create search --target main", "--title", "Find any letter in a second")["slug"]
        place = self.root / "kitty-specs" / self.slug
        (place / "tasks").mkdir(exist_ok=True)
        for name, headings in HEADINGS.items():
            (place / name).write_text("# x\n\n" + "".join(f"## {heading}\n\ntext\n\n" for heading in headings))
        for wp_id, title, needs, owned, mode in PACKAGES:
            front = {
                "work_package_id": wp_id,
                "title": title,
                "dependencies": list(needs),
                "owned_files": [owned.format(slug=self.slug)],
                "execution_mode": mode,
                "subtasks": ["T001", "T002", "T003"] if wp_id in ("WP02", "WP03") else [],
            }
            lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items())
            (place / "tasks" / f"{wp_id}-x.md").write_text(f"---\n{lines}---\n\n# {title}\n")
        for phase in ("specify", "plan", "tasks", "finalize"):
            self.kitty(phase)

    def start(self, wp_id: str, agent: str, *names: str) -> None:
        """Work of somebody, with commits."""
        where = self.kitty(f"implement {wp_id} --agent {agent}")["workspace_path"]
        for name in names:
            self.commit(Path(where), name, f"{wp_id}\n")

    def submit(self, wp_id: str, agent: str, seconds: int, tokens: int, cost: str) -> None:
        """Work that is done, and what it took."""
        self.kitty(f"effort {wp_id} --agent {agent} --seconds {seconds} --tokens {tokens} --cost {cost}")
        self.kitty(f"submit {wp_id} --agent {agent}")

    def approve(self, wp_id: str) -> None:
        """A review that says yes."""
        self.kitty(f"review {wp_id} --claim --agent grace")
        self.kitty(f"review {wp_id} --approve --agent grace")

    def work(self) -> None:
        """To the middle of it."""
        self.start("WP01", "ada", "search/index.py")
        self.submit("WP01", "ada", 2940, 61_200, "0.74")
        self.approve("WP01")
        self.kitty("implement WP09 --agent bob")
        (self.root / "kitty-specs" / self.slug / "words.md").write_text("# Words\n")
        self.submit("WP09", "bob", 600, 9_100, "0.11")
        self.approve("WP09")
        self.start("WP02", "ada", "search/query.py")
        self.kitty("mark-status T001 T002 T003 --status done --agent ada".replace("T0", "WP02/T0"))
        self.submit("WP02", "ada", 4200, 88_000, "1.06")
        self.kitty("review WP02 --claim --agent grace")
        self.kitty("note WP02 --agent grace", "Dates before 1970 are worth a second look")
        self.start("WP06", "bob", "docs/search.md")
        self.submit("WP06", "bob", 900, 15_400, "0.19")
        self.start("WP03", "bob", "search/rank.py", "search/words.py")
        self.kitty("mark-status WP03/T001 --status done --agent bob")
        self.start("WP04", "cleo", "search/marks.py", "search/words.py")
        self.kitty("move WP07 blocked --agent cleo", "--reason", "the disk with the old mailboxes is away")
        self.kitty("cancel WP08 --agent ada", "--reason", "nobody asked for it")


def make(root: Path) -> Path:
    """The repository, in the middle of the work."""
    root.mkdir(parents=True, exist_ok=True)
    team = Team(root)
    team.plan()
    team.work()
    return root


if __name__ == "__main__":
    make(Path(sys.argv[1]))
