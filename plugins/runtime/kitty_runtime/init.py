"""`kitty init`: make a repository ready. Writes only what was asked for and commits nothing."""

from __future__ import annotations

import uuid
from pathlib import Path

import click

from kitty_host.command import Invocation, command
from kitty_host.files import atomic_write
from kitty_host.inert import inert
from kitty_host.repo import CONFIG, MISSIONS, Repo

_IGNORED = (".worktrees/", ".kittify/mission-brief.md", ".kittify/brief-source.yaml", ".kittify/sync/")
_ATTRIBUTES = (f"{MISSIONS}/**/status.events.jsonl merge=union",)


@command("init")
@click.option("--agent", "agents", multiple=True, metavar="NAME", help="An agent that works here; can be repeated.")
def init(call: Invocation, agents: tuple[str, ...]) -> None:
    """Make this repository ready for missions."""
    repo = call.place
    created: list[str] = []
    if not repo.initialized:
        atomic_write(repo.root / CONFIG, _first_config(repo).encode())
        created.append(CONFIG)
    if agents:
        known = list((repo.config.data.get("agents") or {}).get("available") or [])
        wanted = list(dict.fromkeys([*known, *agents]))
        if wanted != known:
            repo.config.set("agents.available", wanted)
            created += [] if created else [CONFIG]
    keep = repo.missions_directory / ".gitkeep"
    if not repo.missions_directory.is_dir():
        atomic_write(keep, b"")
        created.append(f"{MISSIONS}/.gitkeep")
    created += _with_lines(repo.root / ".gitignore", _IGNORED)
    # Spec-kitty's own line names a merge driver of its own for the same files; the later line would win.
    attributes = repo.root / ".gitattributes"
    if not attributes.exists() or f"{MISSIONS}/**/status.events.jsonl merge=" not in attributes.read_text(
        encoding="utf-8"
    ):
        created += _with_lines(attributes, _ATTRIBUTES)
    _record_canonical(repo)
    files = " ".join(created)
    if created:
        text = "Made " + ", ".join(created) + f".\nCommit it: git add {files} && git commit -m 'Use kitty'"
    else:
        text = "Nothing to do: this repository is ready."
    call.show({"schema": "kitty.init/1", "created": created}, text)


def _first_config(repo: Repo) -> str:
    slug = inert(repo.root.name)
    return (
        "# The configuration of kitty and of spec-kitty; see docs/configuration.md of kitty.\n"
        f"project:\n  uuid: {uuid.uuid4()}\n  slug: '{slug}'\n"
        "vcs:\n  type: git\n"
        "merge:\n  strategy: merge # or squash\n"
    )


def _with_lines(path: Path, lines: tuple[str, ...]) -> list[str]:
    """Add the lines that a file lacks; the file's name if there were any."""
    present = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    missing = [line for line in lines if line not in present.splitlines()]
    if not missing:
        return []
    ending = "" if not present or present.endswith("\n") else "\n"
    atomic_write(path, (present + ending + "\n".join(missing) + "\n").encode(errors="surrogateescape"))
    return [path.name]


def _record_canonical(repo: Repo) -> None:
    """In a bare repository nothing else says which of its worktrees is the canonical one."""
    if repo.is_bare:
        atomic_write(repo.state / "canonical", f"{repo.root}\n".encode())
