"""Missions and their work packages as they stand in `kitty-specs/`: identity, selectors, front matter.

Front matter is the authority for a work package's title, dependencies and owned paths; its lane is the ledger's business alone.
Plain records, because every command needs them.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from kitty_host.api import Finding, KittyError
from kitty_host.files import atomic_write, disk_errors, make_directory
from kitty_host.inert import inert
from kitty_host.ledger.event import Transition, ulid
from kitty_host.ledger.log import Ledger
from kitty_host.repo import Repo

META = "meta.json"
_CACHE_VERSION = 1
_FENCE = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
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
        return Ledger(self.directory, self.repo.common, self.mission_id)

    @cached_property
    def packages(self) -> tuple[Package, ...]:
        """Its work packages in order of id, from front matter; `package_findings` says what was wrong with it."""
        return self._read_packages[0]

    @property
    def package_findings(self) -> list[Finding]:
        """Work-package files that could not be read as written."""
        return self._read_packages[1]

    @cached_property
    def _read_packages(self) -> tuple[tuple[Package, ...], list[Finding]]:
        return read_packages(self.directory / "tasks", self.repo.cache / f"packages-{self.mission_id}.json")

    def package(self, text: str) -> Package:
        """The work package that a person or an agent named, in any form that a command prints. Errors: `WP_NOT_FOUND`."""
        wp_id = package_id(text, self.slug)
        for package in self.packages:
            if package.wp_id == wp_id:
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

    def save(self) -> None:
        """Write `meta.json`, sorted as spec-kitty sorts it."""
        atomic_write(self.directory / META, encode_meta(self.meta))

    def refresh(self) -> Mission:
        """The same mission, read again."""
        return read_mission(self.repo, self.directory)


def reserve(repo: Repo, slug: str) -> tuple[str, Path]:
    """An id and a directory for a new mission; the directory is made here, so that two at once never share one.

    Eight characters of a ULID change every 256 ms: they are chosen so that no other mission has them.
    """
    root = repo.missions_directory
    make_directory(root)
    moment = time.time_ns() // 1_000_000
    while True:
        taken = {path.name[-8:] for path in root.iterdir()}
        mission_id = ulid(moment, secrets.randbits(80))
        directory = root / f"{slug}-{mission_id[:8]}"
        if mission_id[:8] not in taken:
            with contextlib.suppress(FileExistsError), disk_errors(directory):
                directory.mkdir()
                return mission_id, directory
        moment += 256


def encode_meta(meta: dict[str, Any]) -> bytes:
    """`meta.json` as bytes: two spaces, sorted keys."""
    return (json.dumps(meta, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


class Package(NamedTuple):
    """One work package as its front matter has it."""

    wp_id: str
    title: str
    """As written: show it through `inert(…, prose=True)`."""
    dependencies: tuple[str, ...]
    owned_files: tuple[str, ...]
    """Paths and globs relative to the repository; its lease."""
    execution_mode: str
    """`code_change` or `planning_artifact`."""
    subtasks: tuple[str, ...]
    path: str
    """The file, relative to the mission's directory."""

    @property
    def planning(self) -> bool:
        """Whether it is worked on in the canonical checkout."""
        return self.execution_mode == "planning_artifact"


def package_id(text: str, slug: str = "") -> str:
    """`WP01`, `<slug>/WP01`, `WP01/T001`, `wp01` and `WP01-title.md` as `WP01`."""
    name = text.strip().removeprefix(f"{slug}/") if slug else text.strip()
    found = re.match(r"(?:.*/)?(wp\d+)(?:[-/].*)?$", name, re.IGNORECASE)
    return found[1].upper() if found else name


def find_missions(repo: Repo) -> list[Mission]:
    """Every mission of the canonical checkout, in order of slug. Errors: `MISSION_DAMAGED`."""
    return [read_mission(repo, place) for place in mission_directories(repo)]


def mission_directories(repo: Repo) -> list[Path]:
    """The directories that hold a mission, readable or not."""
    root = repo.missions_directory
    return [place for place in sorted(root.iterdir()) if (place / META).is_file()] if root.is_dir() else []


def read_mission(repo: Repo, directory: Path) -> Mission:
    """One mission. Errors: `MISSION_DAMAGED` where `meta.json` is no JSON object."""
    path = directory / META
    try:
        meta = json.loads(path.read_bytes())
    except ValueError as error:
        raise KittyError(
            "MISSION_DAMAGED", f"{path}: {error}", "restore the file: git checkout -- " + str(path)
        ) from error
    if not isinstance(meta, dict):
        raise KittyError(
            "MISSION_DAMAGED", f"{path} is no JSON object", "restore the file: git checkout -- " + str(path)
        )
    return Mission(repo, directory, meta)


def select_mission(repo: Repo, selector: str | None, is_open: Callable[[Mission], bool]) -> Mission:
    """The mission that a selector names: id, then its first eight characters, then slug.

    Without a selector: the one whose lane worktree the invocation stands in, else the only open one. Errors: `MISSION_NOT_FOUND`,
    `MISSION_AMBIGUOUS_SELECTOR`, `MISSION_REQUIRED`.
    """
    missions = find_missions(repo)
    if selector is None:
        found = [mission for mission in missions if lane_of_worktree(repo, mission)]
        if len(found) == 1:
            return found[0]
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


# Work-package files


def read_packages(directory: Path, cache: Path) -> tuple[tuple[Package, ...], list[Finding]]:
    """The work packages of a `tasks/` directory and what was wrong with its files.

    Parsed front matter is taken from `cache` where size, mtime and inode of a file agree.
    """
    try:
        files = sorted(path for path in directory.iterdir() if re.fullmatch(r"WP\d+.*\.md", path.name))
    except (FileNotFoundError, NotADirectoryError):
        return (), []
    try:
        cached = json.loads(cache.read_bytes())
        if cached["version"] == _CACHE_VERSION:
            return _read_files(files, cached["files"], cache)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # garbage in a cache is as good as no cache
    return _read_files(files, {}, cache)


def _read_files(files: Sequence[Path], known: dict[str, Any], cache: Path) -> tuple[tuple[Package, ...], list[Finding]]:
    entries: dict[str, Any] = {}
    for path in files:
        key = _key(path)
        entry = known.get(path.name)
        entries[path.name] = entry if entry and entry["key"] == key else {"key": key, **_parse(path)}
    packages: dict[str, Package] = {}
    findings: list[Finding] = []
    for name, entry in entries.items():
        findings += [Finding(*found) for found in entry["findings"]]
        if entry["package"] is None:
            continue
        package = _package(entry["package"], name)
        if package.wp_id in packages:
            findings.append(
                Finding(
                    "WP_DUPLICATE",
                    f"tasks/{name} and {packages[package.wp_id].path} are both {package.wp_id}",
                    "give one another id",
                    "block",
                )
            )
            continue
        packages[package.wp_id] = package
    if entries != known:
        # A cache that cannot be written costs time and nothing else.
        with contextlib.suppress(KittyError, OSError):
            atomic_write(cache, json.dumps({"version": _CACHE_VERSION, "files": entries}).encode())
    return tuple(packages[wp_id] for wp_id in sorted(packages, key=_natural)), findings


def _key(path: Path) -> list[int] | None:
    """What a file's cached content is known by; None for one that cannot even be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def front_matter(content: bytes, path: Path) -> dict[str, Any]:
    """The YAML mapping between the first two `---` lines. Errors: `WP_INVALID`, with the line."""
    found = _FENCE.match(content)
    if found is None:
        raise KittyError(
            "WP_INVALID", f"{path} has no front matter", "begin it with `---`, its keys, and `---`", path=str(path)
        )
    from kitty_host.config import parse_yaml

    # The line break stands for the first `---`, so that lines are counted as the file has them.
    data = parse_yaml(b"\n" + found[1], path, code="WP_INVALID")
    if not isinstance(data, dict):
        raise KittyError(
            "WP_INVALID", f"the front matter of {path} is no mapping", "write it as `key: value` lines", path=str(path)
        )
    return data


def _parse(path: Path) -> dict[str, Any]:
    """One file as JSON values for the cache: `package` (or null) and `findings`."""
    place = f"tasks/{path.name}"
    try:
        data = front_matter(path.read_bytes(), path)
    except KittyError as error:
        return {"package": None, "findings": [Finding(error.code, error.message, error.hint, "block", place)]}
    except OSError as error:
        unreadable = Finding("WP_INVALID", f"{path}: {error.strerror}", "make it a readable file", "block", place)
        return {"package": None, "findings": [unreadable]}
    findings: list[Finding] = []
    mode = _text(data.get("execution_mode") or "code_change")
    if mode == "worktree":
        mode = "code_change"
    if mode not in ("code_change", "planning_artifact"):
        findings.append(
            Finding(
                "WP_MODE",
                f"{place}: execution_mode {inert(mode)} is read as code_change",
                "use code_change or planning_artifact",
                "warn",
                place,
            )
        )
        mode = "code_change"
    wp_id = package_id(_text(data.get("work_package_id") or path.name))
    package = {
        "wp_id": wp_id,
        "title": _text(data.get("title") or wp_id),
        "dependencies": [package_id(one) for one in _strings(data.get("dependencies"))],
        "owned_files": _strings(data.get("owned_files")),
        "execution_mode": mode,
        "subtasks": _strings(data.get("subtasks")),
    }
    return {"package": package, "findings": findings}


def _package(data: dict[str, Any], name: str) -> Package:
    return Package(
        data["wp_id"],
        data["title"],
        tuple(data["dependencies"]),
        tuple(data["owned_files"]),
        data["execution_mode"],
        tuple(data["subtasks"]),
        f"tasks/{name}",
    )


def _strings(value: Any) -> list[str]:
    """A list of texts; old files have the text "[]" for none, and mappings with an `id` for subtasks."""
    if value is None or value == "[]":
        return []
    items: Iterable[Any] = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [_text(item["id"] if isinstance(item, dict) and "id" in item else item) for item in items]


def _text(value: Any) -> str:
    """A scalar as a text. Anything else is named and not expanded: a few nested aliases would fill the memory."""
    return f"({type(value).__name__})" if isinstance(value, list | dict | set | tuple) else str(value)


def _natural(wp_id: str) -> tuple[int, str]:
    digits = re.search(r"\d+", wp_id)
    return (int(digits[0]) if digits else 0, wp_id)
