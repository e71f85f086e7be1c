"""The stored pair: what is in it, that it is one unit, and that nobody changed it."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from markdown_it import MarkdownIt

from kitty_host.api import KittyError
from kitty_host.config import parse_yaml
from kitty_host.files import TEMPORARY_PREFIX
from kitty_host.inert import inert
from kitty_host.records import Brief, Source
from kitty_host.repo import Repo
from kitty_host.testing import Project
from kitty_intake.brief import _yaml, envelope, load, store
from kitty_intake.source import read_contained

quickly = settings(deadline=None, max_examples=60)
PLAN = "# Plan\n\nDo it.\n"
NAMES = (
    some.text()
    | some.binary().map(os.fsdecode)
    | some.sampled_from(["--> <b>", "x--><b>x", "x--!><b>x", "--!>", "a\n# Do this", "`x`", "-" * 9])
)
PIECES = [
    "`",
    "``",
    "```",
    "````",
    "~~~",
    "~~~~~",
    "\n",
    "\r",
    "\r\n",
    " ",
    "   ",
    "\t",
    "text",
    "> ",
    "- ",
    "<!--",
    "-->",
    "\u2028",
    "é",
]
BODIES = some.text() | some.lists(some.sampled_from(PIECES), max_size=40).map("".join)


def hashed(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_as_html(page: str) -> list[tuple[str, str]]:
    """What a browser finds in a page: each element and comment with the text in it."""
    found: list[tuple[str, str]] = []
    waiting = [html5lib.parse(page, treebuilder="dom")]
    while waiting:
        one = waiting.pop()
        waiting += reversed(one.childNodes)
        if one.nodeType in (one.ELEMENT_NODE, one.COMMENT_NODE):
            found.append((one.nodeName, one.nodeValue or ""))
    return found


def blocks(page: str) -> list[tuple[str, str]]:
    """The blocks of a Markdown text and what is in them."""
    return [(one.type, one.content) for one in MarkdownIt("commonmark").parse(page) if one.level == 0]


def fenced(page: str) -> tuple[str, list[str]]:
    """The content of the only fenced block of a page, and the lines behind it, by the rules of CommonMark."""
    lines = page.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith(("```", "~~~")))
    fence = lines[start].removesuffix("text")
    for number, line in enumerate(lines[start + 1 :], start + 1):
        bare = line.lstrip(" ")
        if len(line) - len(bare) < 4 and bare.startswith(fence) and not bare.rstrip(" \t").strip(fence[0]):
            return "\n".join(lines[start + 1 : number]), lines[number + 1 :]
    raise AssertionError("the fence is never closed")


def provenance_is_harmless(page: str, name: str, moment: str = "now", body: bytes = b"body") -> None:
    """Two comments and nothing else, for a parser of HTML, for one of Markdown, and for the page that the latter makes."""
    first, second, empty, *_ = page.split("\n")
    assert first.isprintable()
    assert " " not in inert(name)
    assert len(inert(name).encode()) <= 256
    assert first == f"<!-- spec-kitty intake: ingested from {inert(name)} at {inert(moment, prose=True)} -->"
    assert (second, empty) == (f"<!-- brief_hash: {hashed(body)} -->", "")
    comments = [("#comment", first[4:-3]), ("#comment", second[4:-3])]
    found = blocks(page)
    assert [kind for kind, _ in found] == [*["html_block"] * 2, "paragraph_open", "paragraph_close", "fence"]
    assert [content.rstrip("\n") for _, content in found[:2]] == [first, second]
    assert read_as_html(page)[:2] == comments
    assert [kind for kind, _ in read_as_html(page)[2:]] == ["html", "head", "body"]
    rendered = read_as_html(MarkdownIt("commonmark").render(page))
    assert rendered[:2] == comments
    assert [kind for kind, _ in rendered[2:]] == ["html", "head", "body", "p", "pre", "code"]


@quickly
@given(NAMES, NAMES)
def test_a_name_stays_inside_the_first_of_two_comments(name: str, moment: str) -> None:
    provenance_is_harmless(envelope(name, moment, b"body").decode(), name, moment)


FILE_NAMES = some.one_of(
    some.binary(min_size=1, max_size=80),
    some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).map(str.encode),
    some.sampled_from([b"--><b>x", b"x--><b>x", b"--!><script>", b"a\n# b", b"`x`", b"x\x1b]0;y\x07", b"\xe2\x80\xae", b"_a_", b"1."]),
).filter(lambda name: not {b"/", b"\0"} & {name[at : at + 1] for at in range(len(name))} and name not in (b".", b"..", b"-"))  # fmt: skip


def test_a_file_of_any_name_is_taken_in_harmlessly_and_its_name_is_given_back(project: Project, pair: Any) -> None:
    @settings(quickly, max_examples=25)
    @given(FILE_NAMES)
    def taken_in(raw: bytes) -> None:
        name = os.fsdecode(raw)
        project.write(f"plans/{name}", "body")
        done = project.kitty("intake", "--force", "--", name, where=project.root / "plans")
        assert done.exit_code == 0, done
        assert all(line.isprintable() for line in (done.stdout + done.stderr).split("\n"))
        stored = pair.record["source_file"]
        assert (stored if isinstance(stored, bytes) else stored.encode()) == raw
        provenance_is_harmless(pair.brief.read_text(), name, pair.record["ingested_at"])
        found = load(Repo.find(project.root))
        assert found
        assert found.name == name
        shown = project.kitty("brief")
        assert all(line.isprintable() for line in shown.stdout.split("\n"))

    taken_in()


@quickly
@given(BODIES)
def test_a_body_cannot_close_its_fence(body: str) -> None:
    page = envelope("plan.md", "now", body.encode()).decode()
    inside, behind = fenced(page)
    assert inside + "\n" == (body + "\n").replace("\r\n", "\n").replace("\r", "\n")
    assert behind == [""]


@quickly
@given(BODIES)
def test_a_markdown_parser_sees_two_comments_a_paragraph_and_one_block(body: str) -> None:
    page = envelope("plan.md", "now", body.encode()).decode()
    found = blocks(page)
    assert [kind for kind, _ in found] == [*["html_block"] * 2, "paragraph_open", "paragraph_close", "fence"]
    assert found[-1][1] == (body + "\n").replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    rendered = [kind for kind, _ in read_as_html(MarkdownIt("commonmark").render(page))]
    assert rendered == ["#comment", "#comment", "html", "head", "body", "p", "pre", "code"]


def exactly(name: str) -> str | bytes:
    """A name as YAML can hold it: bytes where it is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


@quickly
@given(NAMES)
def test_the_sidecar_gives_every_name_back_exactly(name: str) -> None:
    read = parse_yaml(_yaml({"source_file": name, "extra": [name]}), Path("sidecar"), code="TEST")
    assert read == {"source_file": exactly(name), "extra": [exactly(name)]}


def test_strings_are_quoted_since_the_versions_of_yaml_disagree_about_plain_ones() -> None:
    assert _yaml({"source_file": "yes", "steps": ["0o7"]}) == b'source_file: "yes"\nsteps:\n- "0o7"\n'


def test_a_long_name_stays_on_its_line() -> None:
    assert _yaml({"source_file": "word " * 80}) == b'source_file: "' + b"word " * 80 + b'"\n'


ODD_NAMES = ["yes", "1e3", "12:30:45", "null", "2026-01-01", "~", "a\u0085b\ufeff", "\udcff.md"]


def test_what_was_stored_is_what_is_loaded(project: Project) -> None:
    repo = Repo.find(project.root)
    source = b"as it was before a plugin read it"
    extra = {"source_agent": "yes", "steps": [1, {"on": None}]}

    @settings(quickly, max_examples=15)
    @given(some.sampled_from(ODD_NAMES), BODIES.filter(lambda body: "\0" not in body))
    def round_trip(name: str, body: str) -> None:
        store(repo, project.root, Source(name, source), Brief(name, body, "", 0, extra=extra), force=True)
        found = load(repo)
        assert found
        assert (found.name, found.text, found.sha256, found.size_bytes) == (name, body, hashed(source), 33)
        assert extra.items() <= found.extra.items()

    round_trip()


def test_a_plan_of_the_largest_size_that_wants_the_longest_fences_is_read_back(
    project: Project, configure: Callable[[str], None]
) -> None:
    configure("max_brief_bytes: 200000")
    plan = "`" * 100_000 + "~" * 100_000
    project.write("plan.md", plan)
    assert project.kitty("intake", "plan.md").exit_code == 0
    assert project.kitty("brief", "--json").json["text"] == plan


def test_the_sidecar_holds_what_both_tools_read(project: Project, pair: Any) -> None:
    project.write("a plan.md", PLAN)
    assert project.kitty("intake", "a plan.md").exit_code == 0
    record = pair.record
    assert record.pop("ingested_at") == record.pop("read_at")
    assert len(record.pop("pair_sha256")) == 64
    assert record == {
        "source_file": "a plan.md",
        "brief_hash": hashed(PLAN.encode()),
        "source_sha256": hashed(PLAN.encode()),
        "size_bytes": len(PLAN),
        "intake_root": str(project.root),
    }


def test_a_pair_of_spec_kitty_is_read_and_checked(project: Project, pair: Any) -> None:
    pair.write_as_spec_kitty("# Plan\n\n\nDo it.")
    shown = project.kitty("brief", "--json").json
    assert (shown["text"], shown["title"], shown["source"]) == ("# Plan\n\n\nDo it.", "Plan", "peer.md")
    assert shown["sha256"] == hashed(b"# Plan\n\n\nDo it.")
    pair.brief.write_text(pair.brief.read_text() + "And this.")
    assert project.kitty("brief", "--json").code == "INTAKE_BRIEF_TAMPERED"


def test_a_refusal_to_replace_a_brief_writes_nothing_at_all(project: Project, pair: Any) -> None:
    pair.write_as_spec_kitty("peer")
    project.write("plan.md", PLAN)
    before = project.snapshot()
    assert project.kitty("intake", "plan.md", "--json").code == "INTAKE_BRIEF_EXISTS"
    assert project.snapshot() == before


def test_a_brief_is_only_replaced_with_force(project: Project) -> None:
    project.write("one.md", "one")
    project.write("two.md", "two")
    assert project.kitty("intake", "one.md").exit_code == 0
    before = project.snapshot()
    assert project.kitty("intake", "two.md", "--json").code == "INTAKE_BRIEF_EXISTS"
    assert project.snapshot() == before
    assert project.kitty("intake", "two.md", "--force").exit_code == 0
    assert project.kitty("brief", "--json").json["text"] == "two"


def test_a_link_where_the_brief_should_be_is_replaced_and_never_followed(project: Project, pair: Any) -> None:
    target = project.write("target.md", "mine", where=project.root.parent)
    pair.brief.symlink_to(target)
    assert_replaced_by_force_only(project)
    assert target.read_text() == "mine"


def test_a_link_that_leads_nowhere_is_in_the_place_of_a_brief_too(project: Project, pair: Any) -> None:
    pair.brief.symlink_to("nowhere")
    assert_replaced_by_force_only(project)


def assert_replaced_by_force_only(project: Project) -> None:
    project.write("plan.md", PLAN)
    assert project.kitty("brief", "--json").code == "INTAKE_FILE_UNREADABLE"
    assert project.kitty("intake", "plan.md", "--json").code == "INTAKE_BRIEF_EXISTS"
    assert project.kitty("intake", "plan.md", "--force").exit_code == 0
    assert project.kitty("brief", "--json").json["text"] == PLAN


def tamper_body(pair: Any) -> None:
    pair.brief.write_bytes(pair.brief.read_bytes().replace(b"Do it", b"Do that"))


def tamper_head(pair: Any) -> None:
    pair.brief.write_bytes(pair.brief.read_bytes().replace(b"from plan.md", b"from a friend"))


def tamper_note(pair: Any) -> None:
    pair.brief.write_bytes(pair.brief.read_bytes().replace(b"is untrusted", b"is trusted"))


def tamper_tail(pair: Any) -> None:
    pair.brief.write_bytes(pair.brief.read_bytes() + b"Now do this.\n")


def tamper_name(pair: Any) -> None:
    pair.sidecar.write_bytes(pair.sidecar.read_bytes().replace(b'"plan.md"', b'"other.md"'))


def tamper_size(pair: Any) -> None:
    pair.sidecar.write_bytes(pair.sidecar.read_bytes().replace(b"size_bytes: ", b"size_bytes: 1"))


def lose_sidecar(pair: Any) -> None:
    pair.sidecar.unlink()


def break_sidecar(pair: Any) -> None:
    pair.sidecar.write_bytes(b"{")


def list_sidecar(pair: Any) -> None:
    pair.sidecar.write_bytes(b"- a\n")


def drop_seal(pair: Any) -> None:
    lines = pair.sidecar.read_bytes().splitlines(keepends=True)
    pair.sidecar.write_bytes(b"".join(line for line in lines if not line.startswith(b"pair_sha256")))


def empty_brief(pair: Any) -> None:
    pair.brief.write_bytes(b"")


def foreign_bytes(pair: Any) -> None:
    pair.brief.write_bytes(b"\xff\0")


TAMPERS = [
    tamper_body,
    tamper_head,
    tamper_note,
    tamper_tail,
    tamper_name,
    tamper_size,
    lose_sidecar,
    break_sidecar,
    list_sidecar,
    drop_seal,
    empty_brief,
    foreign_bytes,
]


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda one: one.__name__)
def test_a_pair_that_was_tampered_with_is_refused_and_can_be_replaced(
    project: Project, pair: Any, tamper: Callable[[Any], None]
) -> None:
    project.write("plan.md", PLAN)
    assert project.kitty("intake", "plan.md").exit_code == 0
    tamper(pair)
    refused = project.kitty("brief", "--json")
    assert refused.code == "INTAKE_BRIEF_TAMPERED"
    told = refused.json["details"]
    assert "found" not in told or told["found"] != told["expected"]
    assert project.kitty("intake", "plan.md", "--force").exit_code == 0
    assert project.kitty("brief", "--json").json["text"] == PLAN


@pytest.mark.parametrize(("tamper", "which"), [(tamper_body, "text"), (tamper_head, "pair"), (tamper_name, "pair")])
def test_it_is_told_whether_the_text_differs_or_only_what_is_around_it(
    project: Project, pair: Any, tamper: Callable[[Any], None], which: str
) -> None:
    project.write("plan.md", PLAN)
    assert project.kitty("intake", "plan.md").exit_code == 0
    kept = {"text": hashed(PLAN.encode()), "pair": pair.record["pair_sha256"]}
    tamper(pair)
    told = project.kitty("brief", "--json").json["details"]
    assert (told["hash_of"], told["expected"]) == (which, kept[which])


def test_a_sidecar_of_another_intake_of_the_same_text_does_not_belong_to_the_brief(project: Project, pair: Any) -> None:
    project.write("one.md", PLAN)
    project.write("two.md", PLAN)
    assert project.kitty("intake", "one.md").exit_code == 0
    sidecar = pair.sidecar.read_bytes()
    assert project.kitty("intake", "two.md", "--force").exit_code == 0
    pair.sidecar.write_bytes(sidecar)
    assert project.kitty("brief", "--json").code == "INTAKE_BRIEF_TAMPERED"


def test_a_sidecar_whose_lines_another_program_has_put_in_another_order_is_the_same_one(
    project: Project, pair: Any
) -> None:
    project.write("plan.md", PLAN)
    assert project.kitty("intake", "plan.md").exit_code == 0
    lines = pair.sidecar.read_text().splitlines(keepends=True)
    pair.sidecar.write_text("".join(reversed(lines)))
    assert project.kitty("brief", "--json").json["text"] == PLAN


def test_a_sidecar_without_a_brief_is_no_brief(project: Project, pair: Any) -> None:
    pair.sidecar.write_text("source_file: plan.md\n")
    assert project.kitty("brief", "--json").code == "INTAKE_FILE_MISSING"
    project.write("plan.md", PLAN)
    assert project.kitty("intake", "plan.md").exit_code == 0


def test_git_ignores_the_pair_whatever_the_ignore_file_says(project: Project) -> None:
    project.commit(".gitignore", "*.log\n")
    project.git("add", "--force", ".kittify/config.yaml")
    project.write("plan.md", PLAN)
    for arguments in (["plan.md"], ["plan.md", "--force"]):
        assert project.kitty("intake", *arguments).exit_code == 0
        assert project.git("status", "--porcelain", "-uall", ".kittify").splitlines() == []
    exclude = (project.root / ".git/info/exclude").read_text()
    assert exclude.count("/.kittify/mission-brief.md\n") == 1


def test_a_rule_of_the_user_that_ends_without_a_line_stays_one(project: Project) -> None:
    project.write(".git/info/exclude", "*.tmp")
    project.write("plan.md", PLAN)
    assert project.kitty("intake", "plan.md").exit_code == 0
    assert project.git("check-ignore", "a.tmp", ".kittify/mission-brief.md").split() == [
        "a.tmp",
        ".kittify/mission-brief.md",
    ]
    assert (project.root / ".git/info/exclude").read_text().endswith("\n"), "the next one's rule is a line, too"


def test_git_ignores_what_a_kill_leaves_beside_the_pair(project: Project) -> None:
    project.write("plan.md", PLAN)
    assert project.kitty("intake", "plan.md").exit_code == 0
    left = f".kittify/{TEMPORARY_PREFIX}1"
    assert project.git("check-ignore", left) == left


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no second file system at /dev/shm")
def test_another_file_system_is_refused_unless_allowed(
    project: Project, configure: Callable[[str], None], other_file_system: Path
) -> None:
    project.write("plan.md", PLAN)
    shutil.move(project.root / ".kittify/config.yaml", other_file_system)
    (project.root / ".kittify").rmdir()
    (project.root / ".kittify").symlink_to(other_file_system)
    assert project.kitty("intake", "plan.md", "--json").code == "INTAKE_CROSS_FS"
    assert [path.name for path in other_file_system.iterdir()] == ["config.yaml"]
    configure("allow_cross_fs: true")
    assert project.kitty("intake", "plan.md").exit_code == 0
    assert "kittify" not in (project.root / ".git/info/exclude").read_text()
    assert project.kitty("brief", "--json").json["text"] == PLAN


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(dir="/dev/shm"))
    assert place.stat().st_dev != tmp_path.stat().st_dev
    yield place
    shutil.rmtree(place)


def test_a_root_of_another_checkout_is_refused_before_anything_is_written(
    project: Project, make_project: Callable[[str], Project]
) -> None:
    other = make_project("other")
    before = project.snapshot()
    with pytest.raises(KittyError) as caught:
        store(Repo.find(project.root), other.root, Source("plan.md", b"plan"), Brief("plan.md", "plan", "", 4))
    assert caught.value.code == "INTAKE_ROOT_INCONSISTENT"
    assert project.snapshot() == before


def die_at(point: int) -> None:
    """Have this process killed at call number `point` of those that change the disk; half a write is one of them."""
    seen = 0

    def step() -> None:
        nonlocal seen
        seen += 1
        if seen > point:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        changing = event in ("os.rename", "os.remove", "os.mkdir", "os.link", "os.chmod", "os.truncate")
        if changing or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            step()

    def write(descriptor: int, content: bytes, write: Callable[[int, bytes], int] = os.write) -> int:
        step()
        write(descriptor, content[: len(content) // 2])
        step()
        return len(content) // 2 + write(descriptor, content[len(content) // 2 :])

    def sync(descriptor: int, sync: Callable[[int], None] = os.fsync) -> None:
        step()
        sync(descriptor)
        step()

    os.write, os.fsync = write, sync  # type: ignore[assignment]
    sys.addaudithook(watch)


def survives(project: Project, point: int, *arguments: str) -> bool:
    """Run a command that is killed at a point; whether it came to its end before."""
    child = os.fork()
    if child == 0:
        die_at(point)
        os._exit(project.kitty(*arguments).exit_code)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return status == 0


def stored(project: Project) -> tuple[str, str] | None:
    """The name and the text of the brief, after every check."""
    brief = load(Repo.find(project.root))
    return (brief.name, brief.text) if brief else None


@pytest.mark.parametrize("old", [None, "one.md", "peer.md"])
def test_a_kill_at_any_call_leaves_the_old_pair_or_the_new_one(project: Project, pair: Any, old: str | None) -> None:
    project.write("one.md", "one")
    project.write("two.md", "two")
    if old == "peer.md":
        pair.write_as_spec_kitty("peer")
    elif old:
        assert project.kitty("intake", old).exit_code == 0
    before, new = stored(project), ("two.md", "two")
    files = {path: path.read_bytes() for path in (pair.brief, pair.sidecar) if old}
    outcomes = []
    finished = False
    while not finished:
        pair.brief.unlink(missing_ok=True)
        pair.sidecar.unlink(missing_ok=True)
        for path, content in files.items():
            path.write_bytes(content)
        finished = survives(project, len(outcomes), "intake", "two.md", "--force")
        outcomes.append(stored(project))
    changed = outcomes.index(new)
    assert len(outcomes) > 20
    assert 0 < changed < len(outcomes) - 1
    assert outcomes == [before] * changed + [new] * (len(outcomes) - changed)
    assert project.git("status", "--porcelain", ".kittify") == ""


def test_after_a_kill_the_next_intake_works_as_if_nothing_had_happened(project: Project, pair: Any) -> None:
    for name in ("one", "two", "three"):
        project.write(f"{name}.md", name)
    assert project.kitty("intake", "one.md").exit_code == 0
    point = 0
    while b"previous" not in pair.sidecar.read_bytes():
        assert not survives(project, point, "intake", "two.md", "--force")
        point += 1
    assert stored(project) == ("one.md", "one")
    assert not survives(project, point, "intake", "three.md", "--force")
    assert stored(project) == ("one.md", "one")
    assert project.kitty("intake", "three.md", "--force").exit_code == 0
    assert stored(project) == ("three.md", "three")
    assert "previous" not in pair.record


def test_a_reader_beside_a_writer_sees_whole_pairs_only(project: Project) -> None:
    plans = {"one.md": "one" * 1000, "two.md": "two" * 2000}
    for name, text in plans.items():
        project.write(name, text)
    assert project.kitty("intake", "one.md").exit_code == 0
    child = os.fork()
    if child == 0:
        codes = [project.kitty("intake", name, "--force").exit_code for _ in range(8) for name in reversed(plans)]
        os._exit(max(codes))
    repo, seen = Repo.find(project.root), set()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        brief = load(repo)
        assert brief
        assert brief.text == plans[brief.name]
        seen.add(brief.name)
    assert seen == set(plans)


def test_a_reader_that_an_intake_overtook_looks_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("one.md", "one")
    project.write("two.md", "two")
    assert project.kitty("intake", "one.md").exit_code == 0
    overtaken = []

    def read(root: Path, path: Path, cap: int, name: str) -> bytes:
        if path.name == "brief-source.yaml" and not overtaken:
            overtaken.append(name)
            assert project.kitty("intake", "two.md", "--force").exit_code == 0
        return read_contained(root, path, cap, name)

    monkeypatch.setattr("kitty_intake.brief.read_contained", read)
    assert stored(project) == ("two.md", "two")


def test_an_intake_that_reads_longer_than_another_does_not_replace_its_brief(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("quick.md", "quick")

    class Slow(io.BytesIO):
        def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
            project.kitty("intake", "quick.md")
            return super().readinto(buffer)

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=Slow(b"slow")))
    assert project.kitty("intake", "-", "--json").code == "INTAKE_BRIEF_EXISTS"
    assert stored(project) == ("quick.md", "quick")


def test_of_two_intakes_at_once_one_refuses(project: Project) -> None:
    for name in ("one.md", "two.md"):
        project.write(name, name)
    children = []
    for name in ("one.md", "two.md"):
        children.append(os.fork())
        if children[-1] == 0:
            os._exit(project.kitty("intake", name).exit_code)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0, 1]
    assert stored(project) == (("one.md", "one.md") if codes[0] == 0 else ("two.md", "two.md"))
