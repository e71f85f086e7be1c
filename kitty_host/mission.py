"""Missions as they stand in `kitty-specs/`: identity, selectors, where the ledger is."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from kitty_host.api import Finding, KittyError
from kitty_host.coordination import Copy, coordination_copy
from kitty_host.files import atomic_write, disk_errors, make_directory
from kitty_host.inert import inert, visible
from kitty_host.ledger.event import Transition, chance, ulid
from kitty_host.ledger.lines import whole_lines
from kitty_host.ledger.log import FILE, Ledger
from kitty_host.packages import Package, in_order, package_id, read_packages
from kitty_host.repo import Repo

META = "meta.json"
_BRANCH = re.compile(r"[^\s~^:?*\[\\<>`$;|&\"']*")
"""What Git takes, without what a shell or a page reads."""
_ID = re.compile(r"\w[\w.-]*")
_LANE_WORKTREE = re.compile(r"(?P<human>.+)-(?P<mid8>[0-9A-HJKMNP-TV-Z]{8})-lane-(?P<lane>[a-z0-9-]+)")


class Mission:
    """One mission: a directory with `meta.json`. Unknown keys of that file are kept."""

    def __init__(self, repo: Repo, directory: Path, meta: dict[str, Any]) -> None:
        self.repo = repo
        self.directory = directory
        self.meta = meta
        self.slug = directory.name
        self.mission_id = str(meta.get("mission_id") or self.slug)
        """A ULID; missions of old repositories without one are known by their slug."""

    has_files = True
    """Whether there is a directory to look into."""

    @property
    def mid8(self) -> str:
        """The first eight characters of the id."""
        return self.mission_id[:8]

    @property
    def human(self) -> str:
        """The slug without a leading number and without the id's characters at its end."""
        return re.sub(r"^\d{3}-", "", self.slug.removesuffix(f"-{self.mid8}"))

    @property
    def branch(self) -> str:
        """The mission's branch name, of which lane branches are extensions."""
        return f"kitty/mission-{self.human}-{self.mid8}"

    @property
    def target(self) -> str:
        """The branch that the mission lands on, without `refs/heads/`."""
        return str(self.meta.get("merge_target_branch") or self.meta.get("target_branch") or "")

    @property
    def title(self) -> str:
        """The name people gave it, as one harmless line."""
        return inert(str(self.meta.get("friendly_name") or self.slug), prose=True)

    @property
    def type(self) -> str:
        """The mission type's key."""
        return str(self.meta.get("mission_type") or "software-dev")

    @cached_property
    def ledger(self) -> Ledger:
        """Its ledger."""
        copy = self.coordination
        elsewhere = None if copy is None else lambda: whole_lines(copy.read(FILE) or b"")
        return Ledger(self.directory, self.repo.common, self.mission_id, elsewhere)

    @cached_property
    def coordination(self) -> Copy | None:
        """The copy on spec-kitty's coordination branch, which counts until the mission is adopted."""
        return coordination_copy(self.repo, self.slug, self.meta, self.branch)

    @cached_property
    def packages(self) -> tuple[Package, ...]:
        """Its work packages in order of id, from front matter; `package_findings` says what was wrong with it."""
        return self._read_packages[0]

    @property
    def package_findings(self) -> list[Finding]:
        """Work-package files that could not be read as written."""
        return self._read_packages[1]

    def findings(self) -> list[Finding]:
        """What is wrong with its ledger and its work-package files. Errors: `LEDGER_DAMAGED`."""
        return [*self.ledger.findings(), *self.package_findings]

    @cached_property
    def _read_packages(self) -> tuple[tuple[Package, ...], list[Finding]]:
        return read_packages(self.directory / "tasks", self.repo.cache / f"packages-{self.mission_id}.json")

    def package(self, text: str) -> Package:
        """The work package that a person or an agent named, in any form that a command prints. Errors: `WP_NOT_FOUND`."""
        wp_id = package_id(text, self.slug)
        for package in self.packages:
            if package.wp_id == wp_id and self._is_ours(text):
                return package
        ids = [package.wp_id for package in self.packages]
        raise KittyError(
            "WP_NOT_FOUND",
            f"{self.slug} has no work package {inert(text)}",
            f"it has: {', '.join(ids)}"
            if ids
            else f"its files may be on another branch: git switch {self.target}"
            if self.ledger.twin.exists() and any(isinstance(one, Transition) for one in self.ledger.events())
            else "write its work packages first: kitty tasks",
            ids=ids,
        )

    def _is_ours(self, text: str) -> bool:
        """Whether what stands before a work package's id, if anything does, is this mission by one of its names."""
        before = re.split(r"(?:^|/)wp\d+", text.strip(), maxsplit=1, flags=re.IGNORECASE)[0].split("/")
        named = before[before.index("kitty-specs") + 1 :] if "kitty-specs" in before else before
        return {*named} <= {"", "tasks", self.slug, self.human, self.mission_id, self.mid8}

    def save(self) -> None:
        """Write `meta.json`, sorted as spec-kitty sorts it."""
        atomic_write(self.directory / META, encode_meta(self.meta))

    def refresh(self) -> Mission:
        """The same mission, read again."""
        return read_mission(self.repo, self.directory)


class ReportedMission(Mission):
    """A mission of another machine, of which there is only what was told: a hub shows such ones.

    It has names, `meta` and work packages. Whoever wants more of it is refused: `MISSION_ELSEWHERE`.
    """

    has_files = False

    def __init__(self, slug: str, meta: dict[str, Any], packages: Iterable[Package] = ()) -> None:
        self.slug = slug
        self.meta = meta
        self.mission_id = str(meta.get("mission_id") or slug)
        self.packages = in_order(packages)

    def findings(self) -> list[Finding]:
        """Nobody has looked."""
        return []

    def __getattr__(self, name: str) -> NoReturn:
        if name not in ("repo", "directory"):
            raise AttributeError(name)
        raise KittyError(
            "MISSION_ELSEWHERE",
            f"the files of {inert(self.slug)} are on another machine",
            "look in a clone of its project",
        )


def reserve(repo: Repo, slug: str) -> tuple[str, Path]:
    """An id and a directory for a new mission; the directory is made here, so that two at once never share one.

    Eight characters of a ULID change every 256 ms: they are chosen so that no other mission has them.
    """
    root = repo.missions_directory
    make_directory(root)
    moment = time.time_ns() // 1_000_000
    while True:
        taken = {path.name[-8:] for path in root.iterdir()}
        mission_id = ulid(moment, chance(80))
        directory = root / f"{slug}-{mission_id[:8]}"
        if mission_id[:8] not in taken:
            with contextlib.suppress(FileExistsError), disk_errors(directory):
                directory.mkdir()
                return mission_id, directory
        moment += 256


def encode_meta(meta: dict[str, Any]) -> bytes:
    """`meta.json` as bytes: two spaces, sorted keys."""
    return (json.dumps(meta, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def find_missions(repo: Repo) -> list[Mission]:
    """Every mission of the canonical checkout that can be read, in order of slug."""
    return read_missions(repo)[0]


def read_missions(repo: Repo) -> tuple[list[Mission], list[KittyError]]:
    """Every mission, and why others cannot be read, with their `slug` and `path` in the details; each in order of slug."""
    missions: list[Mission] = []
    damaged: list[KittyError] = []
    for place in mission_directories(repo):
        try:
            missions.append(read_mission(repo, place))
        except KittyError as error:
            damaged.append(error)
    return missions, damaged


def mission_directories(repo: Repo) -> list[Path]:
    """The directories that hold a mission, readable or not; of one that is on another branch the ledger may lie here, and no more."""
    root = repo.missions_directory
    return [place for place in sorted(root.iterdir()) if (place / META).is_file()] if root.is_dir() else []


def read_mission(repo: Repo, directory: Path) -> Mission:
    """One mission. Errors: `MISSION_DAMAGED` where `meta.json` is no JSON object, or what the mission is called by is no name."""
    path = directory / META
    restore = f"restore the file: git checkout -- {path}; if it was never committed, put it right by hand"

    def damaged(message: str, hint: str = restore) -> KittyError:
        return KittyError("MISSION_DAMAGED", message, hint, slug=inert(directory.name), path=str(path))

    try:
        meta = json.loads(path.read_bytes())
    except OSError as error:
        raise damaged(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise damaged(f"{path}: {error}") from error
    if not isinstance(meta, dict):
        raise damaged(f"{path} is no JSON object")
    # These are printed in commands, and files are named after the id.
    if not _ID.fullmatch(directory.name):
        message = f"{inert(directory.name)} in {directory.parent} is no name for a mission"
        raise damaged(message, "rename it: letters, digits, dashes, dots and underscores")
    if not _ID.fullmatch(str(meta.get("mission_id") or directory.name)):
        raise damaged(f"{path}: mission_id is {inert(str(meta['mission_id']))}, which is no id")
    mission = Mission(repo, directory, meta)
    if not _BRANCH.fullmatch(mission.target) or visible(mission.target) != mission.target:
        raise damaged(f"{path}: target_branch is {inert(mission.target)}, which is no name for a branch")
    return mission


def select_mission(repo: Repo, selector: str | None, is_open: Callable[[Mission], bool]) -> Mission:
    """The mission that a selector names: id, then its first eight characters, then slug.

    Without a selector: the one whose lane worktree the invocation stands in, else the only open one. Errors: `MISSION_NOT_FOUND`,
    `MISSION_AMBIGUOUS_SELECTOR`, `MISSION_REQUIRED`, and `MISSION_DAMAGED` where the one that is meant, or may be, cannot be read.
    """
    missions, damaged = read_missions(repo)
    if selector is None:
        found = [mission for mission in missions if lane_of_worktree(repo, mission)]
        if len(found) == 1:
            return found[0]
        if damaged:
            raise damaged[0]  # which may be the one that is meant
        # With a single mission there is no doubt, although it may be closed.
        candidates = missions if len(missions) == 1 else [mission for mission in missions if is_open(mission)]
        if len(candidates) == 1:
            return candidates[0]
        slugs = [mission.slug for mission in candidates]
        raise KittyError(
            "MISSION_REQUIRED",
            f"{len(slugs)} missions are open" if slugs else "no mission is open",
            f"name one with --mission: {', '.join(slugs)}" if slugs else _where_missions_are(repo, []),
            missions=slugs,
        )
    rules: tuple[Callable[[Mission], bool], ...] = (
        lambda mission: mission.mission_id == selector,
        lambda mission: mission.mid8 == selector.upper() and len(selector) == 8,
        lambda mission: selector in (mission.slug, mission.human),
    )
    for rule in rules:
        found = [mission for mission in missions if rule(mission)]
        if len(found) == 1:
            return found[0]
        if found:
            raise KittyError(
                "MISSION_AMBIGUOUS_SELECTOR",
                f"{inert(selector)} names {len(found)} missions",
                f"use an id: {', '.join(mission.mission_id for mission in found)}",
                candidates=[mission.mission_id for mission in found],
            )
    for error in damaged:
        if str(error.details["slug"]).startswith(selector) or str(error.details["slug"]).endswith(f"-{selector[:8]}"):
            raise error
    raise KittyError(
        "MISSION_NOT_FOUND",
        f"there is no mission {inert(selector)} here",
        _where_missions_are(repo, missions),
        missions=[mission.slug for mission in missions],
    )


def _where_missions_are(repo: Repo, missions: Sequence[Mission]) -> str:
    """A hint: the missions of this checkout, and those whose directory a branch switch took away; their ledgers are safe."""
    here = {mission.mission_id: mission.slug for mission in missions or find_missions(repo)}
    away = [_slug_in(path) for path in sorted((repo.state / "ledger").glob("*.jsonl")) if path.stem not in here]
    told = [f"there are: {', '.join(here.values())}"] if here and missions else []
    told += [f"on another branch: {', '.join(away)}"] if away else []
    return "; ".join(told) or "create one: kitty mission create SLUG"


def _slug_in(ledger: Path) -> str:
    """The slug that the first row of a ledger names, else its file's name."""
    with contextlib.suppress(OSError, ValueError, AttributeError), ledger.open("rb") as stream:
        row = json.loads(stream.readline())
        return inert(str(row.get("mission_slug") or (row.get("payload") or {}).get("mission_slug") or ledger.stem))
    return ledger.stem


def lane_of_worktree(repo: Repo, mission: Mission) -> str | None:
    """The id of the mission's lane whose worktree this invocation stands in."""
    if repo.here.parent != repo.root / ".worktrees":
        return None
    found = _LANE_WORKTREE.fullmatch(repo.here.name)
    if found is None or (found["human"], found["mid8"]) != (mission.human, mission.mid8):
        return None
    return f"lane-{found['lane']}"
