"""Where a source may lie, how much of it is read, and how each thing that can be wrong with it is told."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.api import KittyError
from kitty_host.testing import Project, Result
from kitty_intake.source import read_capped

PLAN = "# Plan\n\nDo it.\n"
CAP = 1000


def refused(
    project: Project, code: str, *arguments: str, where: Path | None = None, stdin: bytes | None = None
) -> Result:
    """Run `kitty intake`, which refuses with this code and writes nothing anywhere."""
    before = project.snapshot()
    result = project.kitty("intake", *arguments, "--json", where=where, stdin=stdin)
    assert (result.exit_code, result.code) == (1, code)
    assert project.snapshot() == before
    return result


@pytest.mark.parametrize(
    "spelling", ["plan.md", "./docs/../plan.md", "docs/link.md", "{root}/plan.md", "../project/plan.md"]
)
def test_a_source_that_leads_inside_is_taken_however_it_is_spelt(project: Project, pair: Any, spelling: str) -> None:
    project.write("plan.md", PLAN)
    project.write("docs/other.md")
    (project.root / "docs/link.md").symlink_to("../plan.md")
    name = spelling.format(root=project.root)
    assert project.kitty("intake", name).exit_code == 0
    assert pair.record["source_file"] == name
    assert PLAN.encode() in pair.brief.read_bytes()


@pytest.mark.parametrize("name", ["plan.md", "a plan; rm -rf x & 'y'.md"])
def test_the_hint_of_an_escape_is_a_command_that_works(project: Project, pair: Any, name: str) -> None:
    project.write(name, PLAN, where=project.root.parent)
    hint = refused(project, "INTAKE_PATH_ESCAPE", f"../{name}").json["hint"]
    words = shlex.split(hint.partition("run: ")[2])
    assert words == ["kitty", "intake", "--from-outside", f"../{name}"]
    assert project.kitty(*words[1:]).exit_code == 0
    assert pair.record["source_file"] == f"../{name}"


@pytest.mark.parametrize("name", ["a\n# Now do this\x1b[2J.md", "`id`$(id).md", "a\u202eb\u2028c.md", "\udcff.md"])
def test_a_hostile_name_is_harmless_in_every_line_of_an_error(project: Project, name: str) -> None:
    for code, path in [("INTAKE_PATH_ESCAPE", f"../{name}"), ("INTAKE_FILE_MISSING", name)]:
        error = refused(project, code, path).json
        for line in (error["message"], error["hint"]):
            assert line.isascii()
            assert line.isprintable()
            assert not set("`$#") & set(line)


@pytest.mark.parametrize("way", ["file", "stdin", "fifo"])
@pytest.mark.parametrize("excess", [0, 1])
def test_exactly_the_cap_is_taken_and_one_byte_more_is_not(
    project: Project, pair: Any, configure: Callable[[str], None], way: str, excess: int
) -> None:
    configure(f"max_brief_bytes: {CAP}")
    content = b"x" * (CAP + excess)
    arguments = {"file": ["plan.md"], "stdin": ["-"], "fifo": ["--from-outside", "fifo"]}[way]
    project.write("plan.md", content)
    os.mkfifo(project.root / "fifo")
    writer = subprocess.Popen(["sh", "-c", "cat plan.md > fifo"], cwd=project.root) if way == "fifo" else None
    result = project.kitty("intake", *arguments, "--json", stdin=content)
    if writer:
        writer.wait()
    if excess:
        assert result.code == "INTAKE_TOO_LARGE"
        assert str(CAP) in result.json["message"]
        assert "intake.max_brief_bytes" in result.json["message"]
        assert not pair.brief.exists()
        assert not pair.sidecar.exists()
    else:
        assert result.json["size_bytes"] == CAP


def test_no_more_than_the_cap_and_one_byte_is_read(project: Project) -> None:
    path = project.write("plan.md", b"x" * 200_000)
    with path.open("rb", buffering=0) as stream:
        with pytest.raises(KittyError):
            read_capped(stream, 100_000, "plan.md")
        assert stream.tell() == 100_001


def test_standard_input_is_not_read_ahead(project: Project, configure: Callable[[str], None]) -> None:
    configure(f"max_brief_bytes: {CAP}")
    descriptor = os.open(project.write("plan.md", b"x" * 200_000), os.O_RDONLY)
    try:
        command = [sys.executable, "-m", "kitty_host", "intake", "-"]
        assert subprocess.run(command, cwd=project.root, stdin=descriptor, capture_output=True).returncode == 1
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == CAP + 1
    finally:
        os.close(descriptor)


MEASURED = """
import io, json, os, sys
from kitty_host.cli import run

class Growing(io.FileIO):
    def readinto(self, buffer):
        # Whenever something is read of it, somebody has appended more.
        if os.path.samestat(os.fstat(self.fileno()), os.stat("growing.md")):
            with open("growing.md", "ab") as end:
                end.write(b"x" * 70_000)
        return super().readinto(buffer)

io.FileIO = Growing

def measure(*arguments):
    code = run(["intake", *arguments])
    size = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return code, int(size) * 1024

print(json.dumps([measure(*arguments) for arguments in json.loads(sys.argv[1])]))
"""
TOO_LARGE = {
    "50 MB": ["large.md"],
    "sparse 5 GB": ["sparse.md"],
    "a file that grows while it is read": ["growing.md"],
    "an endless device": ["--from-outside", "/dev/zero"],
    "an endless FIFO": ["--from-outside", "fifo"],
    "an endless pipe": ["-"],
}


@pytest.mark.skipif(sys.platform != "linux", reason="the largest resident size is read from /proc")
def test_SC_003_fifty_megabytes_are_refused_cleanly_in_bounded_memory(
    project: Project, pair: Any, record_property: Callable[[str, object], None]
) -> None:
    project.write("small.md", b"x" * 100)
    project.write("large.md", b"x" * 50_000_000)
    growing = project.write("growing.md", b"x" * 100)
    with project.write("sparse.md", b"").open("r+b") as sparse:
        sparse.truncate(5_000_000_000)
    os.mkfifo(project.root / "fifo")
    runs = json.dumps([[*source, "--force"] for source in (["small.md"], *TOO_LARGE.values())])
    with (
        subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless,
        subprocess.Popen(["sh", "-c", "exec yes > fifo"], cwd=project.root) as writer,
    ):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, runs],
            cwd=project.root,
            stdin=endless.stdout,
            capture_output=True,
            text=True,
        )
        endless.kill()
        writer.kill()
    (code, small), *large = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert [code for code, _ in large] == [1] * len(TOO_LARGE), done.stderr
    assert done.stderr.count("INTAKE_TOO_LARGE: ") == len(TOO_LARGE)
    grown = {name: size - small for name, (_, size) in zip(TOO_LARGE, large, strict=True)}
    for name, bytes_more in grown.items():
        record_property("figure", f"memory for a plan, {name}|{bytes_more / 2**20:.1f} MiB|< 7.5 MiB")
    assert max(grown.values()) < 1.5 * 5_242_880
    assert growing.stat().st_size < 2 * 5_242_880, "no more of it was read than the cap"
    assert pair.record["source_file"] == "small.md"


@pytest.mark.parametrize("value", ['"5 MB"', "0", "-1", "1.5", "true", "null"])
def test_a_malformed_cap_is_an_error_and_no_default(
    project: Project, configure: Callable[[str], None], value: str
) -> None:
    project.write("plan.md", PLAN)
    configure(f"max_brief_bytes: {value}")
    assert "max_brief_bytes" in refused(project, "CONFIG_INVALID", "plan.md").json["message"]


LONG = "x" * 300


def test_a_missing_file_outside_and_a_closed_standard_input_are_told_too(project: Project) -> None:
    refused(project, "INTAKE_FILE_MISSING", "--from-outside", "none.md")
    refused(project, "INTAKE_FILE_UNREADABLE", "--from-outside", LONG)
    command = f"{shlex.quote(sys.executable)} -m kitty_host intake - --json <&-"
    closed = subprocess.run(["sh", "-c", command], cwd=project.root, capture_output=True, text=True)
    assert '"INTAKE_FILE_UNREADABLE"' in closed.stdout


def test_input_that_does_not_wait_for_its_writer_is_not_taken_for_its_end(project: Project) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.write(writer, b"# half a plan")
    try:
        command = [sys.executable, "-m", "kitty_host", "intake", "-", "--json"]
        done = subprocess.run(command, cwd=project.root, stdin=reader, capture_output=True, text=True)
    finally:
        os.close(reader)
        os.close(writer)
    assert '"INTAKE_FILE_UNREADABLE"' in done.stdout


def test_without_initialization_nothing_is_written(project: Project, isolated: Path) -> None:
    sibling = isolated / "sibling"
    sibling.mkdir()
    project.git("init", "--quiet", where=sibling)
    project.write("plan.md", PLAN, where=sibling)
    refused(project, "SPEC_KITTY_REPO_NOT_INITIALIZED", "plan.md", where=sibling)


def test_a_narrower_root_is_obeyed(project: Project, configure: Callable[[str], None]) -> None:
    project.write("plan.md", PLAN)
    project.write("plans/plan.md", PLAN)
    configure("root: plans")
    refused(project, "INTAKE_PATH_ESCAPE", "plan.md")
    assert project.kitty("intake", "plans/plan.md").exit_code == 0


@pytest.mark.parametrize("root", ["..", "/", "link", "none", "README.md"])
def test_a_root_that_is_not_a_directory_of_the_checkout_is_refused(
    project: Project, configure: Callable[[str], None], root: str
) -> None:
    project.write("plan.md", PLAN)
    (project.root / "link").symlink_to("..")
    configure(f"root: {root}")
    refused(project, "INTAKE_ROOT_INCONSISTENT", "plan.md")


def test_auto_takes_the_only_plan_that_an_agent_left(project: Project, pair: Any) -> None:
    project.write(".cursor/plans/idea.md", PLAN)
    project.write(".opencode/plans/notes.txt", "no plan")
    (project.root / ".handoff").symlink_to(project.root.parent)
    project.write("stray.md", PLAN, where=project.root.parent)
    assert project.kitty("intake", "--auto", where=project.root / ".cursor").exit_code == 0
    assert pair.record["source_file"] == ".cursor/plans/idea.md"
    assert pair.record["source_agent"] == "cursor"


def test_auto_refuses_where_there_is_no_plan_or_more_than_one(project: Project) -> None:
    refused(project, "INTAKE_FILE_MISSING", "--auto")
    project.write(".cursor/plans/one.md", PLAN)
    project.write(".kiro/specs/idea/two.md", PLAN)
    result = refused(project, "INTAKE_SOURCE_AMBIGUOUS", "--auto")
    assert result.json["details"]["candidates"] == [".cursor/plans/one.md", ".kiro/specs/idea/two.md"]
