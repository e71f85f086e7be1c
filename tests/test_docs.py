"""The documentation says what the source says, every page can be found, and no link is dead."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitty_host.ledger import machine
from kitty_host.testing import Project

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "adr").rglob("*.md"))]

# Error codes


def codes(tree: ast.AST) -> Iterator[str]:
    """What is given to an error or a finding as its code: first, as `code=`, or by a variable of that name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            first = node.args[:1] if name.endswith(("Error", "Finding")) or name in ("_print", "__init__") else []
            yield from capitals(*first, *(keyword.value for keyword in node.keywords if keyword.arg == "code"))
        elif isinstance(node, ast.Assign) and any("code" in names(target) for target in node.targets):
            yield from capitals(node.value)


def names(target: ast.expr) -> list[str]:
    return [one.id for one in ast.walk(target) if isinstance(one, ast.Name)]


def capitals(*places: ast.expr) -> Iterator[str]:
    for place in places:
        for node in ast.walk(place):
            if isinstance(node, ast.Constant) and re.fullmatch(r"[A-Z][A-Z_]{3,}", str(node.value)):
                yield str(node.value)


def sources() -> list[Path]:
    own = [
        path for path in (ROOT / "kitty_host").rglob("*.py") if "template" not in path.parts
    ]  # that is strangers' code
    return sorted(own) + sorted((ROOT / "plugins").glob("*/kitty_*/**/*.py"))


def documented() -> list[str]:
    return re.findall(r"^\| `([A-Z_]+)` \|", (DOCS / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_code_of_the_source_is_on_the_page_and_no_other() -> None:
    raised = {code for path in sources() for code in codes(ast.parse(path.read_text(encoding="utf-8")))}
    assert {"USAGE", "LEDGER_DAMAGED", "DISK_FULL"} <= raised
    assert raised - set(documented()) == set(), "raised, but not in docs/errors.md"
    assert set(documented()) - raised == set(), "in docs/errors.md, but never raised"
    assert len(documented()) == len(set(documented()))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("raise KittyError('ONE_CODE', 'text')", {"ONE_CODE"}),
        ("raise KittyError('ONE_CODE' if x else 'OTHER_CODE', 'text')", {"ONE_CODE", "OTHER_CODE"}),
        ("yield Finding('ONE_CODE', 'TEXT')", {"ONE_CODE"}),
        ("parse_yaml(text, path, code='ONE_CODE')", {"ONE_CODE"}),
        ("code, hint = 'ONE_CODE', 'text'", {"ONE_CODE"}),
        ("super().__init__('ONE_CODE', 'text')", {"ONE_CODE"}),
        ("os.environ.get('NO_CODE'); x = 'NO_CODE'; run('NO_CODE')", set()),
    ],
)
def test_codes_are_found_wherever_they_are_given(source: str, found: set[str]) -> None:
    assert set(codes(ast.parse(source))) == found


# Links


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    """The targets of a page's relative links."""
    return [one for one in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if not re.match(r"[a-z]+:", one)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def dead(page: Path) -> list[str]:
    found = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


def reachable(page: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = [page.resolve()]
    while waiting:
        one = waiting.pop()
        if one not in found and one.suffix == ".md" and one.is_file():
            found.add(one)
            waiting += [(one.parent / link.partition("#")[0]).resolve() for link in links(one)]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_is_dead(page: Path) -> None:
    assert dead(page) == []


def test_every_page_can_be_reached_from_the_index() -> None:
    wanted = {page.resolve() for page in PAGES if DOCS in page.parents}
    assert len(wanted) >= 5
    assert wanted - reachable(DOCS / "README.md") == set()


def test_the_readme_leads_to_the_index() -> None:
    assert (DOCS / "README.md").resolve() in reachable(ROOT / "README.md")


def test_a_dead_link_and_a_lost_page_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A Heading, so\n[b](b.md) [x](x.md) [y](b.md#no) [z](#a-heading-so) `[c](c.md)`\n")
    (tmp_path / "b.md").write_text("# B\n[site](https://example.invalid/x)\n```\n[no](no.md)\n```\n")
    (tmp_path / "lost.md").touch()
    assert dead(tmp_path / "a.md") == ["x.md", "b.md#no"]
    assert dead(tmp_path / "b.md") == []
    assert {page.name for page in reachable(tmp_path / "a.md")} == {"a.md", "b.md"}


# Tests that pages name


def cited(page: Path) -> set[tuple[str, str]]:
    """The tests that a page names, as file and function."""
    return set(re.findall(r"`([\w/.]+\.py)::(\w+)`", page.read_text(encoding="utf-8")))


def functions_in(file: str) -> set[str]:
    path = ROOT / file
    return set(re.findall(r"^def (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)) if path.is_file() else set()


def test_every_test_that_a_page_names_exists() -> None:
    named = {(page.name, file, test) for page in PAGES for file, test in cited(page)}
    assert {"why.md", "data-model.md", "traceability.md"} <= {page for page, _, _ in named}
    known = {file: functions_in(file) for _, file, _ in named}
    assert [(page, file, test) for page, file, test in sorted(named) if test not in known[file]] == []


# What pages say of the source


def edges(diagram: str) -> set[tuple[str, str]]:
    """The ways of a state diagram, without its beginning and its ends."""
    return {way for way in re.findall(r"^  (\S+) --> (\S+)", diagram, re.MULTILINE) if "[*]" not in way}


def test_the_diagram_of_a_work_package_is_the_state_machine() -> None:
    text = (DOCS / "data-model.md").read_text(encoding="utf-8").partition("### A work package")[2]
    diagram = text.partition("```mermaid\n")[2].partition("```")[0]
    assert edges(diagram) == {(source, target) for source, targets in machine.EDGES.items() for target in targets}
    assert set(re.findall(r"^  (\w+) --> \[\*\]", diagram, re.MULTILINE)) == machine.CLOSED
    assert re.findall(r"^  \[\*\] --> (\w+)", diagram, re.MULTILINE) == [machine.GENESIS]


# The tutorial


def files_of_the_tutorial() -> dict[str, str]:
    text = (DOCS / "plugins.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE))


@pytest.fixture
def hello(alone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin of the tutorial, written down and installed as its packaging says."""
    place = alone / "hello"
    for name, content in files_of_the_tutorial().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content, encoding="utf-8")
    packaging = tomllib.loads((place / "pyproject.toml").read_text())["project"]
    metadata = place / f"{packaging['name'].replace('-', '_')}-{packaging['version']}.dist-info"
    metadata.mkdir()
    points = "".join(f"{name} = {target}\n" for name, target in packaging["entry-points"]["kitty"].items())
    (metadata / "entry_points.txt").write_text(f"[kitty]\n{points}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH", "")])))
    monkeypatch.setenv("KITTY_PLUGINS", "hello")
    return place


def test_the_plugin_of_the_tutorial_works(hello: Path, project: Project) -> None:
    project.mission("search")
    assert project.process("hello").stdout == "Hello, search: 0 of 0 done.\n"
    listed = project.process("plugins", "list", "--json").json
    [row] = [row for row in listed["plugins"] if row["name"] == "hello"]
    assert (row["distribution"], row["version"]) == ("kitty-hello", "0.1.0")
    assert row["hooks"] == ["kitty_commands", "kitty_emit_check"]
    assert listed["faults"] == []


@pytest.mark.slow
def test_the_functions_of_the_tutorial_pass(hello: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=hello, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_the_manifest_of_the_tutorial_is_as_short_as_it_is_said_to_be() -> None:
    commands = files_of_the_tutorial()["kitty_hello/plugin.py"].split("\n\n\n")[1]
    assert len(commands.splitlines()) < 10


# Figures


def test_every_row_of_the_bench_has_its_figures_on_the_page() -> None:
    rows = re.findall(r'^    "(\w+)": \w+\.\w+,$', (ROOT / "tests/bench/__main__.py").read_text(encoding="utf-8"), re.M)
    text = (DOCS / "figures.md").read_text(encoding="utf-8")
    assert len(rows) > 15
    assert set(rows) - {"suites"} <= set(re.findall(r"^## (\w+)$", text, re.MULTILINE)) <= set(rows)
    for section in text.split("\n## ")[1:]:
        assert re.search(r"^20\d\d-\d\d-\d\d: .*, load .*, Python .*, git version ", section, re.MULTILINE), section[
            :20
        ]
