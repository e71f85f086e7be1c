"""Hostile plans for every importer: bombs, and changes to honest ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from plan_sources import ALL, source_of

from kitty_host.bundle import bundle

SIZE = 5_000_000
"""Bytes of a bomb: what the cap lets in."""


def times(part: str, head: str = "", tail: str = "") -> bytes:
    """As many of a part as the cap admits."""
    return (head + part * ((SIZE - len(head) - len(tail)) // len(part.encode())) + tail).encode()


def folder(**files: bytes) -> bytes:
    return bundle({name.replace("_", ".").replace("__", "/"): content for name, content in files.items()})


def backlog(front: bytes) -> bytes:
    return b"---\nid: task-1\ntitle: T\nstatus: To Do\ndependencies: []\n" + front + b"\n---\n\nBody\n"


def openspec(tasks: bytes = b"", spec: bytes = b"") -> bytes:
    proposal = b"## Why\n\nSo.\n\n## What Changes\n\n- it\n"
    return bundle({"proposal.md": proposal, "tasks.md": tasks, "specs/a/spec.md": spec})


MERGES = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n  k{n}: 1\n" for n in range(1, 40)
)
ALIASES = "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]\n" for n in range(40))
TASK = '{"id": %d, "title": "x", "status": "pending", "dependencies": %s}'
ISSUE = '{"id": "x-%d", "title": "x", "status": "open", "issue_type": "epic", "dependencies": [%s]}\n'


def epics() -> bytes:
    links = ",".join(f'{{"depends_on_id": "x-{one}", "type": "blocks"}}' for one in range(1, 200))
    parents = "".join(
        ISSUE % (one, f'{{"depends_on_id": "x-{one + 1}", "type": "parent-child"}},{links}') for one in range(200)
    )
    return parents.encode()


BOMBS: dict[str, Callable[[], bytes]] = {
    "JSON: lists in lists": lambda: times("["),
    "JSON: lists in lists that are closed": lambda: b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "JSON: fewer lists in lists": lambda: b"[" * 150_000,
    "JSON: fewer mappings in mappings": lambda: b'{"tasks":' * 90_000,
    "JSON: mappings in mappings": lambda: times('{"tasks":'),
    "JSON: very many lists": lambda: times("[],", '{"tasks": [', "[]]}"),
    "JSON: very many mappings": lambda: times("{},", '{"tasks": [', "{}]}"),
    "JSON: very many short texts": lambda: times('"ab",', '{"tasks": [', '""]}'),
    "JSON: very many keys": lambda: ("{" + ",".join(f'"k{n}":0' for n in range(400_000)) + "}").encode(),
    "JSON: a key again and again": lambda: times('"tasks":[],', "{", '"tasks":[]}'),
    "JSON: a huge number": lambda: times("9", '{"tasks": [{"title": "x", "status": "pending", "id": ', "}]}"),
    "JSON: a number of 4,000 digits": lambda: (TASK % (int("9" * 4000), "[]")).join(('{"tasks": [', "]}")).encode(),
    "JSON: a huge exponent": lambda: b'{"tasks": [{"id": 1e999999999, "title": "x", "status": "pending"}]}',
    "JSON: half characters": lambda: b'{"tasks": [{"id": "\\ud800", "title": "\\udfff\\u0000", "status": "pending"}]}',
    "JSON: tags of a megabyte": lambda: json.dumps(
        {
            one * 1_000_000: {"tasks": [{"id": n, "title": "x", "status": "pending"} for n in range(4000)]}
            for one in "xy"
        }
    ).encode(),
    "JSON: very many tasks": lambda: (
        '{"tasks": [' + ",".join(TASK % (n, "[]") for n in range(9000)) + "]}"
    ).encode(),
    "JSON: everything waits for everything": lambda: (
        '{"tasks": [' + ",".join(TASK % (n, json.dumps(list(range(400)))) for n in range(400)) + "]}"
    ).encode(),
    "JSON: very many subtasks": lambda: (
        '{"tasks": [{"id": 1, "title": "x", "status": "pending", "subtasks": ['
        + ",".join('{"id": 1, "dependencies": ["2.1"]}' for _ in range(60_000))
        + "]}]}"
    ).encode(),
    "beads: empty lines": lambda: times("\n"),
    "beads: short lines": lambda: times("ab\n"),
    "beads: lists in lists by line": lambda: times("[\n"),
    "beads: very many issues": lambda: "".join(ISSUE % (n, "") for n in range(9000)).encode(),
    "beads: epics of epics that wait for epics": epics,
    "beads: a chain of parents": lambda: "".join(
        ISSUE % (n, f'{{"depends_on_id": "x-{n + 1}", "type": "parent-child"}}') for n in range(9000)
    ).encode(),
    "beads: very many criteria": lambda: json.dumps(
        {"id": "x-" + "1" * 190, "title": "x", "status": "open", "acceptance_criteria": "- a\n" * 900_000}
    ).encode(),
    "beads: an id of a megabyte": lambda: json.dumps(
        {"id": "x-" + "1" * 1_000_000, "title": "x", "status": "open", "acceptance_criteria": "- a\n" * 9000}
    ).encode(),
    "YAML: lists in lists": lambda: backlog(b"x: " + b"[" * 16_000),
    "YAML: keys of keys": lambda: backlog(b"x:\n  " + b"? " * 8_000),
    "YAML: aliases of aliases": lambda: backlog(ALIASES.encode()),
    "YAML: merges of merges": lambda: backlog(MERGES.encode()),
    "YAML: a key again and again": lambda: backlog(b"x: 1\n" * 3000),
    "YAML: a huge number": lambda: backlog(b"x: " + b"9" * 16_000),
    "YAML: a number as huge as can be read": lambda: backlog(b"").replace(b"task-1", b"0x" + b"f" * 9000),
    "YAML: front matter without end": lambda: times("a: 1\n", "---\nid: task-1\n"),
    "YAML: front matter in very many files": lambda: bundle(
        {f"{n}.md": backlog(b"x: [" + b"a," * 7_000 + b"]") for n in range(290)}
    ),
    "YAML: merges in very many files": lambda: bundle({f"{n}.md": backlog(MERGES.encode()) for n in range(290)}),
    "Backlog.md: very many criteria": lambda: backlog(b"") + b"## Acceptance Criteria\n" + times("- [ ] a\n")[: SIZE - 200],
    "Backlog.md: very many sections": lambda: backlog(b"") + times("## Acceptance Criteria\n")[: SIZE - 200],
    "spec-kit: very many tasks": lambda: folder(plan_md=b"# P\n", tasks_md=times("- [ ] T001 a\n")),
    "spec-kit: as many tasks as lines are read": lambda: folder(plan_md=b"# P\n", tasks_md=b"- [ ] T001 a\n" * 190_000),
    "spec-kit: very many phases": lambda: folder(plan_md=b"# P\n", tasks_md=times("## Phase 1: a\n- [ ] T001 a\n")),
    "spec-kit: phases as many as are read": lambda: folder(
        plan_md=b"# P\n", tasks_md=b"".join(b"## Phase %d\n- [ ] T%05d [US1] a/b.py depends on T00001\n" % (n, n) for n in range(9000))
    ),
    "spec-kit: one task of very many lines": lambda: folder(plan_md=b"# P\n", tasks_md=times(" a\n", "- [ ] T001 a\n")),
    "spec-kit: a line of paths": lambda: folder(plan_md=b"# P\n", tasks_md=times("a/", "- [ ] T001 ")),
    "spec-kit: a line that is a path": lambda: folder(plan_md=b"# P\n", tasks_md=times("a", "- [ ] T001 ", ".py")),
    "spec-kit: very many paths": lambda: folder(plan_md=b"# P\n", tasks_md=times("a/b.c ", "- [ ] T001 ")),
    "spec-kit: very many requirements": lambda: folder(spec_md=times("- **FR-001**: a\n", "# Feature Specification: X\n")),
    "spec-kit: a phase number without end": lambda: folder(plan_md=b"# P\n", tasks_md=times(".1", "## Phase 1", "\n- [ ] T001 a\n")),
    "OpenSpec: very many requirements": lambda: openspec(spec=times("### Requirement: a\n", "## ADDED Requirements\n")),
    "OpenSpec: a long name again and again": lambda: openspec(
        spec=b"## ADDED Requirements\n### Requirement: " + b"a" * 1_000_000 + b"\n" + b"#### Scenario: b\n" * 200_000
    ),
    "OpenSpec: a number without end": lambda: openspec(tasks=times(".1", "## 1", " a\n" + "- [ ] b\n" * 9000)),
    "OpenSpec: very many boxes": lambda: openspec(tasks=times("- [ ] a\n")),
    "bundle: very many files": lambda: b"".join(b"=== %07d.md, 0 bytes ===\n\n" % n for n in range(150_000)),
    "bundle: a size beyond everything": lambda: b"=== a.md, 999999999999 bytes ===\n" + b"x" * 1000,
    "text: one wide character": lambda: times("a", "\U0001f431"),
    "text: zero-width characters": lambda: times("\u200b"),
    "text: comments that never end": lambda: times("<!--"),
    "text: headings": lambda: times("# a\n"),
    "text: fences": lambda: times("```\n"),
}  # fmt: skip

TOKENS = (
    b"\n", b"\r\n", b"---\n", b"- [ ] ", b"- [x] T001 ", b"## ", b"## Phase 1: ", b"[US1]", b"{", b"}", b"[", b"]", b",", b":", b'"',
    b'"tasks": ', b'"id": ', b'"dependencies": [', b"&a ", b"*a ", b"<<: ", b"!!int ", b"? ", b"0x", b"9" * 30, b"\\ud800", b"\\u0000",
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xed\xa0\x80",
    b"```\n", b"<!--", b"-->", b"=== a.md, 3 bytes ===\n", b"../", b"depends on T001",
    b"## ADDED Requirements\n", b"### Requirement: ", b"parent-child", b"1e999", b"true", b"null", b"-", b"\t",
)  # fmt: skip
NO_TEXT = (b"\0", b"\xff", b"\xed\xa0\x80")
SEEDS = tuple(source_of(name).content for name in ALL)


def changed(chance: random.Random) -> bytes:
    """An honest plan after a few changes, as a file or, with its sizes put right, as a directory."""
    name = chance.choice(ALL)
    files = dict(source_of(name).files) or {"": source_of(name).content}
    for _ in range(chance.randint(1, 5)):
        path = chance.choice(list(files))
        is_json = (path or name).endswith(("json", "jsonl"))
        change = _change_value if is_json and chance.random() < 0.9 else _change
        files[path] = change(chance, files[path])
        if path and chance.random() < 0.05:
            files[chance.choice(["tasks.md", "spec.md", "tasks/tasks.json", "issues.jsonl", "x.md"])] = files.pop(path)
    return files[""] if "" in files else bundle(files)


def _change(chance: random.Random, content: bytes) -> bytes:
    at = chance.randint(0, len(content))
    to = min(len(content), at + chance.choice([1, 2, 5, 20, 200]))
    kind = chance.randrange(6)
    if kind == 0:
        return content[:at] + content[to:]
    if kind == 1:
        return content[:at] + content[at:to] * chance.choice([2, 3, 50]) + content[to:]
    if kind == 2:
        return content[:at] + bytes([chance.randrange(256 if chance.random() < 0.1 else 128)]) + content[to:]
    if kind == 3:
        other = chance.choice(SEEDS)
        begin = chance.randint(0, len(other))
        return content[:at] + other[begin : begin + 300] + content[at:]
    if kind == 4:
        return content[:at]
    token = chance.choice(TOKENS)
    if token in NO_TEXT and chance.random() < 0.8:
        token = b"- "
    return content[:at] + token * chance.choice([1, 1, 1, 3, 200]) + content[at:]


ODD: tuple[Callable[[], Any], ...] = (
    lambda: None, lambda: True, lambda: -1, lambda: 0, lambda: 1.5, lambda: 10**400, lambda: "", lambda: "x", lambda: "\ud800\0\n# x",
    lambda: "1", lambda: "x" * 10_000, list, dict, lambda: [[]], lambda: ["1", 2, None, {}], lambda: {"id": 1},
    lambda: [{"depends_on_id": 1}],
    lambda: "in-progress", lambda: "done", lambda: "closed", lambda: "epic", lambda: [{"type": "parent-child", "depends_on_id": "rd-a1.1"}],
)  # fmt: skip


def _change_value(chance: random.Random, content: bytes) -> bytes:
    """Another value somewhere in a JSON text, or in one line of several."""
    lines = content.decode(errors="replace").split("\n")
    one = chance.randrange(len(lines))
    for given, put in ((lines[one], lambda text: "\n".join([*lines[:one], text, *lines[one + 1 :]])), (content, str)):
        try:
            value = json.loads(given)
        except ValueError:
            continue
        if isinstance(value, dict | list):
            _put(chance, value)
            return put(json.dumps(value)).encode()
    return _change(chance, content)


def _put(chance: random.Random, value: Any) -> None:
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and chance.random() < 0.9:
            value = value[key]
            continue
        if chance.random() < 0.15:
            del value[key]
        else:
            value[key] = chance.choice(ODD)()
        return
