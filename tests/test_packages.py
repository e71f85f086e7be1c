"""Work-package files: what is read, what is wrong with one, what a cache may not do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host import packages as module
from kitty_host.api import KittyError
from kitty_host.packages import front_matter, read_packages
from kitty_host.testing import Project


def refusal(act: Callable[[], object], code: str) -> KittyError:
    with pytest.raises(KittyError) as refused:
        act()
    assert refused.value.code == code
    return refused.value


# Front matter


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    place = tmp_path / "tasks"
    place.mkdir()
    return place


def read(tasks: Path) -> tuple[tuple[Any, ...], list[Any]]:
    return read_packages(tasks, tasks.parent / "cache" / "packages.json")


def written(tasks: Path, front: str | bytes, name: str = "WP01-task.md") -> Any:
    """The one work package of a directory, and its findings."""
    (tasks / name).write_bytes(front if isinstance(front, bytes) else f"---\n{front}---\n\n# Body\n".encode())
    packages, findings = read(tasks)
    return (packages[0] if packages else None), findings


def test_a_work_package_is_what_its_front_matter_says(tasks: Path) -> None:
    package, findings = written(
        tasks,
        "work_package_id: WP01\ntitle: Build it\ndependencies: [WP00]\nowned_files: [src/a.py, 'src/b/**']\n"
        "execution_mode: planning_artifact\nsubtasks: [T001, T002]\nrequirement_refs: [FR-001]\nlane: done\n"
        "unknown: {a: 1}\n",
    )
    assert findings == []
    assert package._asdict() == {
        "wp_id": "WP01",
        "title": "Build it",
        "dependencies": ("WP00",),
        "owned_files": ("src/a.py", "src/b/**"),
        "execution_mode": "planning_artifact",
        "subtasks": ("T001", "T002"),
        "path": "tasks/WP01-task.md",
        "requirements": ("FR-001",),
    }
    assert package.planning


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("[]", ()),
        ("'[]'", ()),
        ("", ()),
        ("null", ()),
        ("T001", ("T001",)),
        ("[T001, {id: T002, title: x, status: done}]", ("T001", "T002")),
        ("[5]", ("5",)),
    ],
)
def test_lists_are_read_however_old_files_wrote_them(tasks: Path, value: str, ids: tuple[str, ...]) -> None:
    package, findings = written(tasks, f"work_package_id: WP01\ndependencies: {value}\nsubtasks: {value}\n")
    assert findings == []
    assert package.subtasks == package.dependencies == ids


@pytest.mark.parametrize(
    ("mode", "read_as", "codes"),
    [
        ("code_change", "code_change", []),
        ("planning_artifact", "planning_artifact", []),
        ("worktree", "code_change", []),
        ("", "code_change", []),
        ("review", "code_change", ["WP_MODE"]),
        ("documentation", "code_change", ["WP_MODE"]),
        ("[a, b]", "code_change", ["WP_MODE"]),
    ],
)
def test_an_execution_mode_that_nobody_knows_is_a_finding_and_no_crash(
    tasks: Path, mode: str, read_as: str, codes: list[str]
) -> None:
    package, findings = written(tasks, f"work_package_id: WP01\nexecution_mode: {mode}\n")
    assert package.execution_mode == read_as
    assert [finding.code for finding in findings] == codes
    assert all(finding.path == "tasks/WP01-task.md" for finding in findings)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf---\nwork_package_id: WP01\ntitle: T\n---\n",
        b"---\r\nwork_package_id: WP01\r\ntitle: T\r\n---\r\nbody\r\n",
        b"---  \nwork_package_id: WP01\ntitle: T\n---\t\nbody\n---\nmore\n",
        b"---\nwork_package_id: WP01\ntitle: T\n---",
        b"---\ntitle: T\n---\n",
    ],
    ids=["byte order mark", "carriage returns", "trailing blanks", "nothing after it", "id in the name only"],
)
def test_front_matter_is_found_however_editors_left_it(tasks: Path, content: bytes) -> None:
    package, findings = written(tasks, content)
    assert findings == []
    assert (package.wp_id, package.title) == ("WP01", "T")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# WP01\n", "has no front matter"),
        (b"", "has no front matter"),
        (b"\n---\ntitle: T\n---\n", "has no front matter"),
        (b"---\ntitle: T\n", "has no front matter"),
        (b"---\n- a\n---\n", "is no mapping"),
        (b"---\n---\n", "is no mapping"),
        (b"---\ntitle: \xff\n---\n", "WP01-task.md"),
    ],
)
def test_a_file_without_front_matter_is_a_finding(tasks: Path, content: bytes, said: str) -> None:
    package, [finding] = written(tasks, content)
    assert package is None
    assert finding.code == "WP_INVALID"
    assert finding.severity == "block"
    assert said in finding.message
    assert finding.path == "tasks/WP01-task.md"


BOMB = "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]\n" for n in range(12))


@pytest.mark.parametrize("key", ["title", "execution_mode", "work_package_id", "owned_files", "dependencies"])
def test_aliases_of_aliases_are_not_expanded(tasks: Path, key: str) -> None:
    package, [finding] = written(tasks, f"{BOMB}{key}: *a11\n")
    assert package is None
    assert finding.code == "WP_INVALID"
    assert len(repr(finding)) < 1000


def test_a_value_that_should_be_a_text_is_not_lost_in_silence(tasks: Path) -> None:
    package, _ = written(tasks, "work_package_id: WP01\nsubtasks: [[T001], {a: 1}]\n")
    assert package.subtasks == ("(list)", "(dict)")
    package, [finding] = written(tasks, "work_package_id: WP01\ndependencies: [[WP02], {a: 1}]\n")
    assert package is None
    assert finding.code == "WP_INVALID"


def test_nesting_without_end_is_a_finding(tasks: Path) -> None:
    package, [finding] = written(tasks, "title: " + "[" * 50_000)
    assert package is None
    assert finding.code == "WP_INVALID"


def test_broken_yaml_is_named_with_the_line_of_the_file(tasks: Path) -> None:
    path = tasks / "WP01-task.md"
    path.write_bytes(b"---\ntitle: T\nowned_files: [a\ndependencies: []\n---\n")
    error = refusal(lambda: front_matter(path.read_bytes(), path), "WP_INVALID")
    assert error.details["line"] == 4
    assert f"{path}, line 4" in error.message


def test_work_packages_are_in_order_of_their_numbers(tasks: Path) -> None:
    for number in ("10", "9", "01", "100"):
        written(tasks, "title: T\n", f"WP{number}-x.md")
    assert [package.wp_id for package in read(tasks)[0]] == ["WP01", "WP9", "WP10", "WP100"]


def test_two_files_with_one_id_are_a_finding(tasks: Path) -> None:
    written(tasks, "work_package_id: WP01\n", "WP01-a.md")
    written(tasks, "work_package_id: WP01\n", "WP01-b.md")
    [package], [finding] = read(tasks)
    assert finding.code == "WP_DUPLICATE"
    assert package.path == "tasks/WP01-a.md"


def test_only_files_that_are_called_like_a_work_package_are_read(tasks: Path) -> None:
    for name in ("README.md", "notes.md", "WP.md", "wp01.md", "WP01.txt"):
        written(tasks, "title: T\n", name)
    (tasks / "WP01-x").mkdir()
    assert read(tasks) == ((), [])
    assert read(tasks / "missing") == ((), [])
    assert read(tasks / "notes.md") == ((), [])


def test_what_cannot_be_read_is_a_finding_and_no_crash(tasks: Path) -> None:
    (tasks / "WP01-directory.md").mkdir()
    (tasks / "WP02-dangling.md").symlink_to("nowhere")
    for _ in range(2):
        packages, findings = read(tasks)
        assert packages == ()
        assert [(finding.code, finding.path) for finding in findings] == [
            ("WP_INVALID", "tasks/WP01-directory.md"),
            ("WP_INVALID", "tasks/WP02-dangling.md"),
        ]


# The cache of parsed front matter


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are parsed from now on."""
    names: list[str] = []
    parse = module._parse

    def counted(path: Path) -> dict[str, Any]:
        names.append(path.name)
        return parse(path)

    monkeypatch.setattr(module, "_parse", counted)
    return names


@pytest.fixture
def three(tasks: Path) -> Path:
    for number in (1, 2, 3):
        (tasks / f"WP0{number}-x.md").write_text(f"---\ntitle: T{number}\nexecution_mode: odd\n---\n")
    return tasks


def test_a_second_look_parses_nothing_and_says_the_same(three: Path, parsed: list[str]) -> None:
    first = read(three)
    assert len(parsed) == 3
    assert read(three) == first
    assert len(parsed) == 3


def test_a_changed_file_is_parsed_again_and_no_other(three: Path, parsed: list[str]) -> None:
    read(three)
    parsed.clear()
    (three / "WP02-x.md").write_text("---\ntitle: changed\n---\n")
    (three / "WP03-x.md").unlink()
    packages, _ = read(three)
    assert [package.title for package in packages] == ["T1", "changed"]
    assert parsed == ["WP02-x.md"]


def test_a_file_of_the_same_size_and_time_under_another_inode_is_parsed_again(three: Path, parsed: list[str]) -> None:
    read(three)
    parsed.clear()
    path = three / "WP02-x.md"
    status = path.stat()
    other = three / "other"
    other.write_text(path.read_text().replace("T2", "T9"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)
    assert [package.title for package in read(three)[0]] == ["T1", "T9", "T3"]


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"version": 0, "files": {}}',
        b'{"version": 1}',
        b'{"version": 1, "files": []}',
        b'{"version": 1, "files": {"WP01-x.md": "text", "WP02-x.md": null, "WP03-x.md": []}}',
        b'{"version": 1, "files": {"WP01-x.md": {}, "WP02-x.md": {"key": 1}, "WP03-x.md": {"package": 5}}}',
        "package",
        "findings",
    ],
)
def test_a_cache_that_is_gone_or_garbage_changes_nothing(three: Path, content: bytes | str | None) -> None:
    first = read(three)
    cache = three.parent / "cache" / "packages.json"
    if content is None:
        cache.unlink()
    elif isinstance(content, bytes):
        cache.write_bytes(content)
    else:
        kept = json.loads(cache.read_bytes())
        kept["files"]["WP01-x.md"][content] = [5]
        cache.write_text(json.dumps(kept))
    assert read(three) == first
    assert read(three) == first


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(three: Path) -> None:
    first = read(three)
    assert read_packages(three, three / "WP01-x.md" / "packages.json") == first


def test_the_cache_is_the_only_thing_that_reading_writes(project: Project) -> None:
    mission = project.mission(packages=[{"work_package_id": "WP01"}])
    before = project.snapshot()
    assert [package.wp_id for package in mission.packages] == ["WP01"]
    assert project.snapshot() == before
    assert (mission.repo.cache / f"packages-{mission.mission_id}.json").is_file()
