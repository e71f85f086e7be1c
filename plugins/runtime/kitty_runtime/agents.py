"""The instruction file of each coding agent that was named: where it lies, when it is kitty's to change, what is in it.

All of them read skills, a directory with a `SKILL.md` (the page "Specification" of Agent Skills), so there is one text, `skill.md`, and
one form. Where an agent looks for those of a project is said by the pages "Extend Claude with skills" (Claude Code), "Agent Skills"
(Codex), "Managing Agent Skills" (Gemini CLI), "Agent Skills" (Cursor), "Adding agent skills" (GitHub Copilot) and "Skills" (opencode).
Some read the directories of others too; each gets its own here, so that it can be taken away again by itself.

The last line of a file is kitty's mark: the version that wrote it, and a hash of the rest. Where the hash fits, nobody has edited the
file, and it may be replaced or removed. Who is recorded in the configuration, and what is committed, is left to :mod:`kitty_runtime.init`.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen
from packaging.version import InvalidVersion, Version

from kitty_host import __version__
from kitty_host.api import Finding, KittyError
from kitty_host.files import atomic_write, open_contained, remove
from kitty_host.inert import inert

SKILLS = {
    "claude": ".claude/skills",
    "codex": ".agents/skills",
    "copilot": ".github/skills",
    "cursor": ".cursor/skills",
    "gemini": ".gemini/skills",
    "opencode": ".opencode/skills",
}
"""Where each agent looks for skills, relative to the repository. The names are those of spec-kitty."""

_MARK = re.compile(rb"<!-- kitty (?P<version>[0-9][0-9A-Za-z.+!]*) (?P<digest>[0-9a-f]{16}) -->\n?\Z")
_LARGEST = 1024 * 1024


@frozen
class Found:
    """What lies where an agent's file belongs."""

    agent: str
    path: str
    content: bytes | None = None
    """None where there is nothing."""
    obstacle: str = ""
    """Why it cannot be read as a file of this repository: a link, a directory, no permission."""

    @property
    def mark(self) -> tuple[Version, str] | None:
        """The version that wrote the file, and the hash of what it wrote; None for a file of somebody else."""
        found = _MARK.search(_unix(self.content or b""))
        try:
            return (Version(found["version"].decode()), found["digest"].decode()) if found else None
        except InvalidVersion:
            return None

    @property
    def is_untouched(self) -> bool:
        """Whether kitty wrote it, and nobody has edited it since."""
        return self.mark is not None and _digest(_MARK.sub(b"", _unix(self.content or b""))) == self.mark[1]

    @property
    def is_outdated(self) -> bool:
        """Whether kitty wrote it, this very version would write something else, and no later one has."""
        return self.mark is not None and self.mark[1] != _digest(_text(self.agent)) and not self.is_newer

    @property
    def is_newer(self) -> bool:
        """Whether a later kitty than this one wrote it."""
        return self.mark is not None and self.mark[0] > Version(__version__)


@frozen
class Plan:
    """What is to be written (None: removed), and what is left as it is, each with a line that says why."""

    files: Mapping[str, bytes | None]
    kept: Mapping[str, str]

    def carry_out(self, root: Path) -> None:
        """Write and remove; directories that became empty go too."""
        for path, content in self.files.items():
            if content is not None:
                atomic_write(root / path, content)
                continue
            remove(root / path)
            with contextlib.suppress(OSError):
                for directory in (root / path).relative_to(root).parents[:-1]:
                    (root / directory).rmdir()


def require_known(agents: Iterable[str]) -> None:
    """Errors: `AGENT_UNKNOWN`."""
    for agent in agents:
        if agent not in SKILLS:
            raise KittyError(
                "AGENT_UNKNOWN",
                f"kitty has no instructions for an agent {inert(agent)}",
                f"name one of: {', '.join(SKILLS)}",
                known=list(SKILLS),
            )


def wanted(root: Path, agents: Iterable[str], *, force: bool) -> Plan:
    """The files of agents that were named. A file that somebody edited stays; with `force` it is kept beside the new one.

    Errors: `AGENT_FILE_IN_THE_WAY` where something lies there that is not kitty's.
    """
    files: dict[str, bytes | None] = {}
    kept: dict[str, str] = {}
    for agent in agents:
        found = _find(root, agent)
        if found.obstacle or (found.content is not None and found.mark is None and not force):
            raise _in_the_way(found)
        if found.content is None or (found.is_untouched and found.is_outdated):
            files[found.path] = content(agent)
        elif force and not (found.is_untouched and not found.is_newer):
            files |= {f"{found.path}.orig": _free(root, found), found.path: content(agent)}
        elif found.is_newer:
            kept[found.path] = "a later kitty wrote it"
        elif found.is_outdated:
            kept[found.path] = f"it was edited; {_forced(found)}"
    return Plan(files, kept)


def unwanted(root: Path, agents: Iterable[str]) -> Plan:
    """Without the files of these agents, but for what somebody edited or put there."""
    places = [_find(root, agent) for agent in agents]
    there = [found for found in places if found.content is not None or found.obstacle]
    return Plan(
        {found.path: None for found in there if found.is_untouched},
        {
            found.path: "it was edited" if found.mark else "it is not kitty's"
            for found in there
            if not found.is_untouched
        },
    )


def renewed(root: Path) -> Plan:
    """Every file that an earlier kitty wrote, as this one writes it; those that were edited stay, and none is made."""
    places = [found for found in (_find(root, agent) for agent in SKILLS) if found.is_outdated]
    return Plan(
        {found.path: content(found.agent) for found in places if found.is_untouched},
        {found.path: f"it was edited; {_forced(found)}" for found in places if not found.is_untouched},
    )


def look(root: Path) -> list[Finding]:
    """What `kitty doctor` says: the files that an earlier kitty wrote."""
    return [
        Finding("AGENT_FILE_OLD", f"{path} is of an earlier kitty", "run: kitty init", "warn", path)
        for path in renewed(root).files
    ]


def content(agent: str) -> bytes:
    """The file of an agent, mark and all."""
    text = _text(agent)
    return text + f"<!-- kitty {__version__} {_digest(text)} -->\n".encode()


def _text(agent: str) -> bytes:
    text = (Path(__file__).parent / "skill.md").read_text(encoding="utf-8")
    return _unix(text.replace("{agent}", agent).encode())


def _digest(text: bytes) -> str:
    # It tells an edited file from one that is not; nobody is kept from forging it.
    return hashlib.sha256(text).hexdigest()[:16]


def _unix(text: bytes) -> bytes:
    """As kitty writes it: a checkout may have other line ends."""
    return text.replace(b"\r\n", b"\n")


def _find(root: Path, agent: str) -> Found:
    path = f"{SKILLS[agent]}/kitty/SKILL.md"
    try:
        with open(open_contained(root, path), "rb") as stream:  # noqa: PTH123 - a descriptor has no path
            content = stream.read(_LARGEST + 1)
    except FileNotFoundError:
        return Found(agent, path)
    except OSError as error:
        return Found(agent, path, obstacle=error.strerror or type(error).__name__)
    return Found(agent, path, obstacle="too large") if len(content) > _LARGEST else Found(agent, path, content)


def _in_the_way(found: Found) -> KittyError:
    if found.obstacle:
        return KittyError(
            "AGENT_FILE_IN_THE_WAY",
            f"{found.path} is, or lies below, something that is no plain file or directory of this repository: {found.obstacle}",
            "move that away, links included",
            path=found.path,
        )
    return KittyError(
        "AGENT_FILE_IN_THE_WAY",
        f"{found.path} is not kitty's",
        f"move it away; {_forced(found)}",
        path=found.path,
    )


def _forced(found: Found) -> str:
    return f"for kitty's text: kitty init --agent {found.agent} --force, which keeps this one as {found.path}.orig"


def _free(root: Path, found: Found) -> bytes:
    """What is to be kept under another name. Errors: `AGENT_FILE_IN_THE_WAY` where that is taken."""
    kept = f"{found.path}.orig"
    if (root / kept).is_symlink() or (root / kept).exists():
        raise KittyError("AGENT_FILE_IN_THE_WAY", f"{kept} exists already", f"move {kept} away", path=kept)
    return found.content or b""
