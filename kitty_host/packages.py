"""Work-package files: front matter, and the cache of what was parsed.

Front matter is the authority for a work package's title, dependencies and owned paths; its lane is the ledger's business alone. Plain
records, because every command needs them.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kitty_host.api import Finding, KittyError
from kitty_host.files import stamp_of, write_cache
from kitty_host.inert import inert

_CACHE_VERSION = 3
_FENCE = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)


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
    requirements: tuple[str, ...] = ()
    """The ids of the requirements that it meets, as written."""

    @property
    def planning(self) -> bool:
        """Whether it is worked on in the canonical checkout."""
        return self.execution_mode == "planning_artifact"


def package_id(text: str, slug: str = "") -> str:
    """`WP01`, `<slug>/WP01`, `WP01/T001`, `wp01` and `WP01-title.md` as `WP01`."""
    name = text.strip().removeprefix(f"{slug}/") if slug else text.strip()
    found = re.match(r"(?:.*/)?(wp\d+)(?:[-/].*)?$", name, re.IGNORECASE)
    return found[1].upper() if found else name


def in_order(packages: Iterable[Package]) -> tuple[Package, ...]:
    """In the order in which they are shown: WP2 before WP10."""
    return tuple(sorted(packages, key=lambda package: _natural(package.wp_id)))


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # garbage in a cache is as good as no cache
    return _read_files(files, {}, cache)


def _read_files(files: Sequence[Path], known: dict[str, Any], cache: Path) -> tuple[tuple[Package, ...], list[Finding]]:
    entries: dict[str, Any] = {}
    for path in files:
        key = stamp_of(path)
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
            write_cache(cache, json.dumps({"version": _CACHE_VERSION, "files": entries}).encode())
    return in_order(packages.values()), findings


def front_matter(content: bytes, path: Path) -> dict[str, Any]:
    """The YAML mapping between the first two `---` lines. Errors: `WP_INVALID`, with the line."""
    found = _FENCE.match(content)
    if found is None:
        if problem := _not_utf8(content):
            raise KittyError("WP_INVALID", f"{path} is not UTF-8: {problem}", "save it as UTF-8", path=str(path))
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


def description(content: bytes) -> bytes:
    """What stands below the front matter."""
    found = _FENCE.match(content)
    return content[found.end() :].strip() if found else content


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
    dependencies = [package_id(one) for one in _strings(data.get("dependencies"))]
    # They are printed in commands.
    if odd := [one for one in (wp_id, *dependencies) if not re.fullmatch(r"\w[\w.-]*", one)]:
        key = "work_package_id is" if odd[0] == wp_id else "dependencies have"
        message = f"{inert(place)}: {key} {inert(odd[0])}, which is no id"
        return {
            "package": None,
            "findings": [Finding("WP_INVALID", message, "call it WP01, WP02 and so on", "block", place)],
        }
    package = {
        "wp_id": wp_id,
        "title": _text(data.get("title") or wp_id),
        "dependencies": dependencies,
        "owned_files": _strings(data.get("owned_files")),
        "execution_mode": mode,
        "subtasks": _strings(data.get("subtasks")),
        "requirements": _strings(data.get("requirement_refs")),
    }
    return {"package": package, "findings": findings}


def _not_utf8(content: bytes) -> str:
    """What is wrong with a text that is to be UTF-8, such as one that an editor of Windows calls Unicode; empty where nothing is."""
    if b"\0" in content:
        return "it has zero bytes, as UTF-16 has"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"{error.reason} at byte {error.start}"
    return ""


def _package(data: dict[str, Any], name: str) -> Package:
    return Package(
        data["wp_id"],
        data["title"],
        tuple(data["dependencies"]),
        tuple(data["owned_files"]),
        data["execution_mode"],
        tuple(data["subtasks"]),
        f"tasks/{name}",
        tuple(data["requirements"]),
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
