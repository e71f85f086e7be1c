"""Missions and work packages as they stand in `kitty-specs/`: who is meant, what is read, what a cache may not do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host import mission as module
from kitty_host.api import KittyError
from kitty_host.ledger.event import ulid
from kitty_host.mission import (
    Mission,
    find_missions,
    front_matter,
    lane_of_worktree,
    package_id,
    read_mission,
    read_packages,
    select_mission,
)
from kitty_host.repo import Repo
from kitty_host.state import mission_is_open
from kitty_host.testing import Project

FIRST, SECOND = ulid(1_767_225_600_000, 1), ulid(1_777_225_600_000, 2)


def refusal(act: Callable[[], object], code: str) -> KittyError:
    with pytest.raises(KittyError) as refused:
        act()
    assert refused.value.code == code
    return refused.value


# Which mission is meant


def select(project: Project, selector: str | None, where: Path | None = None) -> Mission:
    return select_mission(Repo.find(where or project.root), selector, mission_is_open)


@pytest.fixture
def two(project: Project) -> tuple[Mission, Mission]:
    return (
        project.mission("first", mission_id=FIRST, mission_number=7),
        project.mission("second", mission_id=SECOND),
    )


@pytest.mark.parametrize("selector", [FIRST, FIRST[:8], FIRST[:8].lower(), f"first-{FIRST[:8]}", "first"])
def test_a_mission_is_known_by_id_by_eight_characters_and_by_slug(
    project: Project, two: tuple[Mission, Mission], selector: str
) -> None:
    assert select(project, selector).mission_id == FIRST


@pytest.mark.parametrize("selector", ["7", "007", FIRST[:7], FIRST[:9], FIRST.lower(), "fir", "", "nothing"])
def test_nothing_else_names_a_mission_not_even_its_number(
    project: Project, two: tuple[Mission, Mission], selector: str
) -> None:
    error = refusal(lambda: select(project, selector), "MISSION_NOT_FOUND")
    assert error.details["missions"] == [mission.slug for mission in two]


def test_eight_characters_of_two_missions_are_ambiguous_and_the_id_is_not(project: Project) -> None:
    twins = [project.mission(name, mission_id=ulid(1_767_225_600_000, chance)) for chance, name in enumerate("ab")]
    assert twins[0].mid8 == twins[1].mid8
    error = refusal(lambda: select(project, twins[0].mid8), "MISSION_AMBIGUOUS_SELECTOR")
    assert sorted(error.details["candidates"]) == sorted(one.mission_id for one in twins)
    assert select(project, twins[1].mission_id).slug == twins[1].slug


def test_a_name_that_two_missions_share_is_ambiguous(project: Project) -> None:
    for mission_id in (FIRST, SECOND):
        project.mission("search", mission_id=mission_id)
    error = refusal(lambda: select(project, "search"), "MISSION_AMBIGUOUS_SELECTOR")
    assert FIRST in error.hint
    assert SECOND in error.hint
    assert select(project, f"search-{SECOND[:8]}").mission_id == SECOND


def test_an_id_beats_a_slug_that_looks_like_it(project: Project) -> None:
    project.mission("first", mission_id=FIRST)
    imposter = project.mission("x", mission_id=SECOND)
    (imposter.directory).rename(imposter.directory.parent / FIRST)
    assert select(project, FIRST).mission_id == FIRST
    (imposter.directory.parent / FIRST).rename(imposter.directory.parent / FIRST[:8])
    assert select(project, FIRST[:8]).mission_id == FIRST


def test_two_directories_with_one_id_are_ambiguous(project: Project) -> None:
    project.mission("first", mission_id=FIRST)
    project.mission("copy", mission_id=FIRST)
    refusal(lambda: select(project, FIRST), "MISSION_AMBIGUOUS_SELECTOR")


def test_without_a_name_the_only_open_mission_is_meant(project: Project, two: tuple[Mission, Mission]) -> None:
    error = refusal(lambda: select(project, None), "MISSION_REQUIRED")
    assert error.details["missions"] == [mission.slug for mission in two]
    project.record(two[0], "WP01", "planned", "canceled")
    assert select(project, None).mission_id == SECOND
    project.record(two[1], "WP01", "planned", "done")
    assert refusal(lambda: select(project, None), "MISSION_REQUIRED").details["missions"] == []


def test_of_a_single_mission_there_is_no_doubt_although_it_is_closed(project: Project) -> None:
    mission = project.mission()
    project.record(mission, "WP01", "planned", "done")
    assert select(project, None).mission_id == mission.mission_id


def test_a_mission_with_a_broken_ledger_is_open_so_that_it_is_seen(
    project: Project, two: tuple[Mission, Mission]
) -> None:
    two[0].ledger.live.write_bytes(b"{broken\n")
    assert len(refusal(lambda: select(project, None), "MISSION_REQUIRED").details["missions"]) == 2


def test_a_mission_that_a_branch_switch_took_away_is_named(project: Project) -> None:
    project.git("checkout", "-q", "-b", "other")
    away = project.mission("away")
    project.record(away, "WP01", "planned")
    project.git("checkout", "-q", "-f", "main")
    project.git("clean", "-fdxq", "kitty-specs")
    for selector, code in ((away.slug, "MISSION_NOT_FOUND"), (None, "MISSION_REQUIRED")):
        assert (
            f"on another branch: {away.slug}" in refusal(lambda selector=selector: select(project, selector), code).hint
        )
    here = project.mission("here")
    assert here.slug in refusal(lambda: select(project, away.slug), "MISSION_NOT_FOUND").hint


def test_in_the_worktree_of_a_lane_its_mission_is_meant(project: Project, two: tuple[Mission, Mission]) -> None:
    place = f".worktrees/first-{FIRST[:8]}-lane-b"
    project.git("worktree", "add", "-q", "-b", "lane", place)
    assert select(project, None, project.root / place).mission_id == FIRST
    repo = Repo.find(project.root / place)
    assert lane_of_worktree(repo, two[0]) == "lane-b"
    assert lane_of_worktree(repo, two[1]) is None
    assert select(project, "second", project.root / place).mission_id == SECOND


@pytest.mark.parametrize("place", [f"../first-{FIRST[:8]}-lane-b", ".worktrees/first-lane-b", ".worktrees/other"])
def test_another_worktree_belongs_to_no_lane(project: Project, two: tuple[Mission, Mission], place: str) -> None:
    project.git("worktree", "add", "-q", "-b", "lane", place)
    assert lane_of_worktree(Repo.find((project.root / place).resolve()), two[0]) is None


def test_foreign_text_in_a_refusal_is_harmless(project: Project) -> None:
    error = refusal(lambda: select(project, "a\nb\u202e<!--"), "MISSION_NOT_FOUND")
    assert "a%0Ab%E2%80%AE%3C%21" in error.message


# What a mission is


@pytest.mark.parametrize(
    ("directory", "human", "branch"),
    [
        (f"search-{FIRST[:8]}", "search", f"kitty/mission-search-{FIRST[:8]}"),
        ("042-search", "search", f"kitty/mission-search-{FIRST[:8]}"),
        (f"042-search-{FIRST[:8]}", "search", f"kitty/mission-search-{FIRST[:8]}"),
        ("search", "search", f"kitty/mission-search-{FIRST[:8]}"),
    ],
)
def test_its_name_for_people_has_neither_number_nor_id(
    project: Project, directory: str, human: str, branch: str
) -> None:
    mission = Mission(Repo.find(project.root), project.root / "kitty-specs" / directory, {"mission_id": FIRST})
    assert (mission.human, mission.branch) == (human, branch)


def test_an_old_mission_without_an_id_is_known_by_its_slug(project: Project) -> None:
    project.write("kitty-specs/042-old/meta.json", '{"mission_number": 42}')
    mission = select(project, "042-old")
    assert mission.mission_id == "042-old"
    assert (mission.target, mission.title, mission.type) == ("", "042-old", "software-dev")


def test_its_target_is_what_it_is_merged_into(project: Project) -> None:
    assert project.mission("a").target == "main"
    assert project.mission("b", merge_target_branch="release").target == "release"


def test_its_title_is_one_harmless_line(project: Project) -> None:
    assert project.mission("a", friendly_name="Search\n# now <b>").title == "Search %23 now %3Cb%3E"


def test_unknown_keys_of_its_meta_data_survive_a_write(project: Project) -> None:
    mission = project.mission("a", zz_unknown={"b": [1], "a": "ü"})
    mission.meta["mission_number"] = 5
    mission.save()
    text = (mission.directory / "meta.json").read_text()
    assert json.loads(text) == {**mission.meta, "zz_unknown": {"b": [1], "a": "ü"}, "mission_number": 5}
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert mission.refresh().meta["mission_number"] == 5


@pytest.mark.parametrize("text", ["", "{", "[]", "5", b"\xff"])
def test_meta_data_that_is_no_object_is_named(project: Project, text: str | bytes) -> None:
    mission = project.mission("a")
    path = project.write(f"kitty-specs/{mission.slug}/meta.json", text)
    error = refusal(lambda: read_mission(mission.repo, mission.directory), "MISSION_DAMAGED")
    assert str(path) in error.message


def test_only_directories_with_meta_data_are_missions(project: Project) -> None:
    assert find_missions(Repo.find(project.root)) == []
    project.write("kitty-specs/README.md")
    project.write("kitty-specs/notes/spec.md")
    mission = project.mission("a")
    assert [found.slug for found in find_missions(Repo.find(project.root))] == [mission.slug]


# Ids of work packages


@pytest.mark.parametrize(
    "text",
    [
        "WP01",
        "wp01",
        " WP01 ",
        "demo/WP01",
        "WP01/T001",
        "demo/WP01/T001",
        "WP01-build-it.md",
        "tasks/WP01-x.md",
        "WP01-x",
    ],
)
def test_every_form_that_a_command_prints_names_the_work_package(text: str) -> None:
    assert package_id(text, "demo") == "WP01"


@pytest.mark.parametrize("text", ["WP01 WP02", "WPX", "T001", "", "XWP01", "WP"])
def test_what_is_no_id_is_left_as_it_is(text: str) -> None:
    assert package_id(text) == text


def test_a_slug_that_looks_like_an_id_does_not_mislead() -> None:
    assert package_id("wp3-cleanup/WP01", "wp3-cleanup") == "WP01"


def test_an_unknown_work_package_is_refused_with_those_that_exist(project: Project) -> None:
    mission = project.mission(packages=[{"work_package_id": "WP01"}, {"work_package_id": "WP02"}])
    assert mission.package(f"{mission.slug}/wp02").wp_id == "WP02"
    error = refusal(lambda: mission.package("WP09"), "WP_NOT_FOUND")
    assert error.details["ids"] == ["WP01", "WP02"]
    assert "WP01, WP02" in error.hint
    assert "kitty tasks" in refusal(lambda: project.mission("empty").package("WP01"), "WP_NOT_FOUND").hint


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
        "execution_mode: planning_artifact\nsubtasks: [T001, T002]\nlane: done\nunknown: {a: 1}\n",
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
    package, _ = written(tasks, f"{BOMB}{key}: *a11\n")
    assert len(repr(package)) < 1000


def test_a_value_that_should_be_a_text_is_not_lost_in_silence(tasks: Path) -> None:
    package, _ = written(tasks, "work_package_id: WP01\ndependencies: [[WP02], {a: 1}]\n")
    assert package.dependencies == ("(list)", "(dict)")


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
