"""`kitty init`: make a repository ready. Writes only what was asked for and commits nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

import click
from attrs import frozen

from kitty_host.command import Invocation, command
from kitty_host.files import atomic_write
from kitty_host.inert import inert
from kitty_host.repo import CONFIG, MISSIONS, Repo
from kitty_runtime.agents import SKILLS, Plan, renewed, require_known, unwanted, wanted

_IGNORED = (".worktrees/", ".kittify/mission-brief.md", ".kittify/brief-source.yaml", ".kittify/sync/")
_ATTRIBUTES = (f"{MISSIONS}/**/status.events.jsonl merge=union",)


@frozen
class Agents:
    """The section `agents` of the configuration."""

    available: tuple[str, ...] = ()


@command("init")
@click.option("--agent", "named", multiple=True, metavar="NAME", help="An agent that works here; can be repeated.")
@click.option("--remove-agent", "removed", multiple=True, metavar="NAME", help="One that does not any more.")
@click.option("--force", is_flag=True, help="Replace files of named agents that were edited; the old ones are kept.")
def init(call: Invocation, named: tuple[str, ...], removed: tuple[str, ...], force: bool) -> None:
    """Make this repository ready for missions."""
    repo = call.place
    recorded = list(repo.config.section("agents", Agents).available)
    files = _files_of_agents(repo, recorded, named, removed, force)
    remaining = [name for name in dict.fromkeys([*recorded, *named]) if name not in removed]
    created = _configured(repo, None if remaining == recorded else remaining)
    keep = repo.missions_directory / ".gitkeep"
    if not repo.missions_directory.is_dir():
        atomic_write(keep, b"")
        created.append(f"{MISSIONS}/.gitkeep")
    created += _with_lines(repo.root / ".gitignore", _IGNORED)
    # Spec-kitty's own line names a merge driver of its own for the same files; the later line would win.
    attributes = repo.root / ".gitattributes"
    if f"{MISSIONS}/**/status.events.jsonl merge=" not in _text_of(attributes):
        created += _with_lines(attributes, _ATTRIBUTES)
    _record_canonical(repo)
    gone = [path for path, content in files.files.items() if content is None]
    created += [path for path in files.files if path not in gone]
    # Only what Git knows can be committed as removed.
    changed = [*created, *(path for path in gone if _knows(repo, path))]
    files.carry_out(repo.root)
    call.show(
        {"schema": "kitty.init/1", "created": created, "removed": gone, "kept": list(files.kept)},
        _told(created, gone, files.kept, [path for path in changed if not _ignores(repo, path)]),
    )


def _configured(repo: Repo, agents: list[str] | None) -> list[str]:
    """Write the configuration where there is none, and the agents where they are others now; the file's name if anything was written."""
    missing = not repo.initialized
    if missing:
        atomic_write(repo.root / CONFIG, _first_config(repo).encode())
    if agents is not None:
        repo.config.set("agents.available", agents)
    return [CONFIG] if missing or agents is not None else []


def _files_of_agents(
    repo: Repo, recorded: list[str], named: tuple[str, ...], removed: tuple[str, ...], force: bool
) -> Plan:
    """What becomes of the files of agents; where nobody is named, those that are there follow kitty.

    Errors: `AGENT_UNKNOWN`, `AGENT_FILE_IN_THE_WAY`.
    """
    if force and not named:
        raise click.UsageError("--force is for the agents that --agent names")
    if set(named) & set(removed):
        raise click.UsageError(f"{inert(min(set(named) & set(removed)))} is to be added and to be removed")
    # One that nobody knows can have been recorded by another tool.
    require_known([*named, *(name for name in removed if name not in recorded)])
    if not named and not removed:
        return renewed(repo.root)
    with_them = wanted(repo.root, named, force=force)
    without = unwanted(repo.root, [name for name in removed if name in SKILLS])
    return Plan({**with_them.files, **without.files}, {**with_them.kept, **without.kept})


def _told(created: list[str], gone: list[str], kept: Mapping[str, str], to_commit: list[str]) -> str:
    lines = [f"Made {', '.join(created)}."] if created else []
    lines += [f"Removed {', '.join(gone)}."] if gone else []
    lines += [f"Left {path} as it is: {why}." for path, why in kept.items()]
    if to_commit:
        lines.append(f"Commit it: git add {' '.join(to_commit)} && git commit -m 'Use kitty'")
    return "\n".join(lines) or "Nothing to do: this repository is ready."


def _knows(repo: Repo, path: str) -> bool:
    return repo.git.succeeds("ls-files", "--error-unmatch", "--", path)


def _ignores(repo: Repo, path: str) -> bool:
    """Whether `git add` would refuse it: many keep the directories of their agents to themselves."""
    return repo.git.succeeds("check-ignore", "--quiet", "--", path)


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
    present = _text_of(path)
    missing = [line for line in lines if line not in present.splitlines()]
    if not missing:
        return []
    end = "\r\n" if "\r\n" in present else "\n"
    ending = "" if not present or present.endswith("\n") else end
    added = "".join(f"{line}{end}" for line in missing)
    atomic_write(path, (present + ending + added).encode(errors="surrogateescape"))
    return [path.name]


def _text_of(path: Path) -> str:
    """As it is, whatever its ends of lines and its encoding; empty where there is no file."""
    return path.read_bytes().decode(errors="surrogateescape") if path.exists() else ""


def _record_canonical(repo: Repo) -> None:
    """In a bare repository nothing else says which of its worktrees is the canonical one."""
    if repo.is_bare:
        atomic_write(repo.state / "canonical", f"{repo.root}\n".encode())
