"""A work package as one side of a tracker: its fields, and how one of them gets into its file.

The file's other bytes stay as they are: comments, order, keys that nobody here knows. The lane is read and never written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kitty_host.api import KittyError
from kitty_host.files import atomic_write
from kitty_host.inert import inert
from kitty_host.ledger import machine
from kitty_host.mission import Mission
from kitty_host.packages import Package, description, front_matter
from kitty_sync.tracker.mark import line, lines, plain
from kitty_sync.tracker.merge import SETS, Value

STATUS = {
    machine.GENESIS: "todo",
    machine.PLANNED: "todo",
    machine.CLAIMED: "in_progress",
    machine.IN_PROGRESS: "in_progress",
    machine.FOR_REVIEW: "in_review",
    machine.IN_REVIEW: "in_review",
    machine.APPROVED: "in_review",
    machine.DONE: "done",
    machine.BLOCKED: "blocked",
    machine.CANCELED: "canceled",
}
"""What each lane is called among trackers: the values of `CanonicalStatus`."""


def read(mission: Mission, package: Package, lane: str) -> dict[str, Value]:
    """The fields of a work package. Errors: `WP_INVALID`."""
    path = mission.directory / package.path
    content = _content(path)
    front = front_matter(content, path)
    return {
        "title": line(str(front.get("title") or "")) or package.wp_id,
        "body": plain(description(content).decode(errors="replace")),
        **{field: lines(_texts(front.get(field))) for field in SETS},
        "status": STATUS[lane],
    }


def write(mission: Mission, package: Package, values: Mapping[str, Value]) -> None:
    """Write some fields into the file, as one step. Errors: `TRACKER_FILE`, where it is written in a way that one cannot edit by lines."""
    path = mission.directory / package.path
    content = _content(path)
    for field, value in values.items():
        content = _with_body(content, str(value)) if field == "body" else _with_key(content, field, value, path)
    atomic_write(path, content)


def changed_at(mission: Mission, package: Package) -> datetime:
    """When the file was last changed: by its last commit, where it is as committed, else by its own time."""
    path = mission.directory / package.path
    git, name = mission.repo.git, mission.repo.relative(path)
    if not git.out("status", "--porcelain", "--", name):
        committed = git.out("log", "-1", "--format=%cI", "--", name).strip()
        if committed:
            return datetime.fromisoformat(committed)
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KittyError(
            "WP_INVALID", f"{path}: {error.strerror}", "make it a readable file", path=str(path)
        ) from error


def _texts(value: Any) -> list[str]:
    if value is None or value == "[]":
        return []
    return [str(one) for one in value] if isinstance(value, Sequence) and not isinstance(value, str) else [str(value)]


def _with_body(content: bytes, text: str) -> bytes:
    body = description(content)
    head = content[: content.rindex(body)] if body else content.rstrip() + b"\n\n"
    newline = b"\r\n" if b"\r\n" in head else b"\n"
    return head + (text.encode().replace(b"\n", newline) + newline if text else b"")


def _with_key(content: bytes, key: str, value: Value, path: Path) -> bytes:
    """The file with another value of one key of its front matter, on one line, in double quotes."""
    import json

    before = front_matter(content, path)
    rows = content.split(b"\n")
    end = next(at for at, row in enumerate(rows) if at and re.fullmatch(rb"---[ \t]*\r?", row))
    first, after, comment = _span(rows[1:end], key)
    spelt = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    row = f"{key}: {spelt}{comment}".encode() + (b"\r" if rows[0].endswith(b"\r") else b"")
    written = b"\n".join([*rows[: first + 1], row, *rows[after + 1 :]])
    wanted = {**before, key: list(value) if isinstance(value, tuple) else value}
    # Anchors, flow mappings and whatever else YAML knows: what comes out is read, not guessed.
    if _read_back(written, path) != wanted or description(written) != description(content):
        raise KittyError(
            "TRACKER_FILE",
            f"{path}: {key} cannot be changed without changing more",
            f"write it there by hand: {key}: {inert(spelt, prose=True)}",
            path=str(path),
            field=key,
        )
    return written


def _span(rows: list[bytes], key: str) -> tuple[int, int, str]:
    """The rows of a key, from the first to before another, and the comment on its row; both numbers the same where it is missing."""
    from ruamel.yaml import YAML

    root = YAML(typ="safe").compose(b"\n".join(rows))
    pairs = root.value if root is not None and isinstance(root.value, list) else []
    starts = [name.start_mark.line for name, _ in pairs]
    for at, (name, value) in enumerate(pairs):
        if name.value == key:
            first, after = starts[at], starts[at + 1] if at + 1 < len(starts) else len(rows)
            while after > first + 1 and rows[after - 1].strip()[:1] in (b"", b"#"):
                after -= 1
            rest = rows[first].decode()[value.end_mark.column :].rstrip() if value.end_mark.line == first else ""
            return first, after, f" {rest.strip()}" if rest.strip().startswith("#") else ""
    return len(rows), len(rows), ""


def _read_back(content: bytes, path: Path) -> dict[str, Any] | None:
    try:
        return front_matter(content, path)
    except KittyError:
        return None
