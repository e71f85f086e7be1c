"""What the project builds on is as its snapshot says, or the check fails and names the difference. The distributions are real, if small."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.testing import Project, Result

CONFIG = "project:\n  slug: project\ncontract:\n  timeout_seconds: 20\n  packages:\n    - distribution: acme\n"
SNAPSHOT = "tests/contract/snapshots/acme-1.0.json"

Install = Callable[..., Path]


def install_in(site: Path, source: str, *, name: str = "acme", version: str = "1.0") -> Path:
    """A distribution with one package, as an interpreter finds it that has the directory on its path."""
    package = site / name
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(source)
    for old in site.glob(f"{name}-*.dist-info/*"):
        old.unlink()
    metadata = site / f"{name}-0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "RECORD").write_text(f"{name}/__init__.py,,\n{metadata.name}/METADATA,,\n")
    return package


@pytest.fixture
def install(project: Project, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package where the interpreter of the project finds it, which is here the one that runs the tests."""
    site = project.root.parent / "site"
    monkeypatch.setenv("PYTHONPATH", str(site))
    project.write(".kittify/config.yaml", CONFIG)
    project.write("pyproject.toml", '[project]\nname = "project"\ndependencies = ["acme>=1,<3"]\n')
    return lambda source, **options: install_in(site, source, **options)


def check(project: Project, *arguments: str) -> list[str]:
    """The findings' messages; none where the check passes."""
    done = project.kitty("contract", "check", "--json", *arguments)
    if done.exit_code == 0:
        assert done.json["ok"] is True
        return []
    return [one["message"] for one in findings(done)]


def findings(done: Result) -> list[dict[str, Any]]:
    assert (done.exit_code, done.code) == (1, "CONTRACT_DRIFT"), done
    found: list[dict[str, Any]] = done.json["details"]["findings"]
    assert all(one["hint"] and "\n" not in one["message"] + one["hint"] for one in found)
    return found


def take(project: Project, *arguments: str) -> dict[str, Any]:
    """Make the snapshots, and give what is said there about the package."""
    done = project.kitty("contract", "snapshot", *arguments)
    assert done.exit_code == 0, done
    names: dict[str, Any] = json.loads((project.root / SNAPSHOT).read_text())["modules"]["acme"]
    return names


# A check that passes


def test_what_is_installed_is_as_in_its_snapshot(
    project: Project, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    package = install("def f(x: int) -> str: ...\n")
    take(project)
    assert json.loads((project.root / SNAPSHOT).read_text()) == {
        "schema": "kitty.contract/1",
        "distribution": "acme",
        "version": "1.0",
        "modules": {"acme": {"f": {"kind": "function", "signature": ["x: int", "-> str"]}}},
    }
    before = project.snapshot()
    done = project.process("contract", "check", "--json")
    assert done.exit_code == 0
    assert done.json["packages"] == [{"distribution": "acme", "version": "1.0", "snapshot": SNAPSHOT}]
    assert project.snapshot() == before, "a check writes nothing"
    assert not (package / "__pycache__").exists()


EVERYTHING = """
import enum, functools, re, typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Optional, Union
import pydantic

PLACE = str(Path(__file__).parent)
NAMES = frozenset({"b", "a", "c"})
TABLE = {"z": (1, 2.5, None), "a": b"x"}
MARK = object()
PATTERN = re.compile("x")
Key = Union[int, None, "str"]
T = typing.TypeVar("T")

class Lane(str, enum.Enum):
    A = "a"
    B = "b"

LANES = {Lane.B, Lane.A}

class Base:
    kept: int = 3
    def inherited(self): ...

class Thing(Base):
    @property
    def size(self) -> int: ...
    @classmethod
    def make(cls, *names: str, deep: bool = False) -> "Thing": ...
    @staticmethod
    def plain(x, /, y=MARK, *, z: typing.Callable[[int], str] = len, **rest): ...
    @functools.cached_property
    def cached(self) -> list[int]: ...
    def _private(self): ...

@dataclass
class Data:
    one: Optional[int]
    many: list[str] = field(default_factory=list)

class Row(NamedTuple):
    name: str
    number: int = 0

class Model(pydantic.BaseModel):
    '''Prose.'''
    title: str = pydantic.Field(description="more prose")
    lane: Lane = Lane.A

class Broken(Exception): ...

@functools.cache
def cached(x: Literal["a", 1], y: Annotated[int, "note"]) -> None: ...

def lazy(): ...
"""


def test_every_kind_of_thing_is_told_in_one_form(project: Project, install: Install) -> None:
    install(EVERYTHING)
    names = take(project)
    assert names["PLACE"]["value"] == "<a path of this machine>"
    assert names["NAMES"] == {"kind": "constant", "type": "frozenset", "value": "{'a', 'b', 'c'}"}
    assert names["TABLE"]["value"] == "{'a': b'x', 'z': [1, 2.5, None]}"
    assert names["LANES"]["value"] == "{Lane.A, Lane.B}"
    assert names["MARK"] == {"kind": "object", "type": "object"}
    assert names["PATTERN"] == {"kind": "object", "type": "Pattern"}
    assert names["Key"] == {"kind": "alias", "value": "int | None | str"}
    assert names["Lane"] == {"kind": "enum", "bases": ["str", "Enum"], "members": {"A": "'a'", "B": "'b'"}}
    assert names["Thing"]["bases"] == ["Base"]
    assert names["Thing"]["members"] == {
        "kept": "int = 3",
        "inherited": {"method": ["self"]},
        "size": {"property": ["self", "-> int"]},
        "make": {"classmethod": ["cls", "*names: str", "deep: bool = False", "-> Thing"]},
        "plain": {
            "staticmethod": [
                *("x", "/", "y = <object>", "*", "z: Callable[[int], str] = <builtin_function_or_method>", "**rest")
            ]
        },
        "cached": {"property": ["self", "-> list[int]"]},
    }
    assert names["Data"]["signature"] == [
        "one: int | None",
        "many: list[str] = <_HAS_DEFAULT_FACTORY_CLASS>",
        "-> None",
    ]
    assert names["Row"]["members"] == {"name": "str", "number": "int"}
    assert names["Row"]["signature"] == ["name: str", "number: int = 0"]
    assert names["Model"]["schema"]["properties"]["title"] == {"type": "string"}
    assert names["Model"]["schema"]["required"] == ["title"]
    assert names["Broken"]["signature"] is None
    assert names["cached"]["signature"] == ["x: Literal['a', 1]", "y: Annotated[int, 'note']", "-> None"]
    assert not {"enum", "field", "Optional", "Path", "dataclass"} & set(names), "what is imported is somebody else's"
    text = (project.root / SNAPSHOT).read_text()
    assert "0x" not in text
    assert str(project.root.parent) not in text
    assert "rose" not in text


def test_a_snapshot_is_the_same_bytes_whenever_it_is_made(project: Project, install: Install) -> None:
    install(EVERYTHING)
    made = set()
    for seed in ("0", "1", "2"):
        done = project.process("contract", "snapshot", "--force", environment={"PYTHONHASHSEED": seed})
        assert done.exit_code == 0, done
        made.add((project.root / SNAPSHOT).read_bytes())
        (project.root / SNAPSHOT).unlink()
    assert len(made) == 1


def test_all_is_what_counts_and_a_package_may_hand_on_what_is_its_own(project: Project, install: Install) -> None:
    package = install("from acme.core import Client, os\nfrom .core import helper as other\nimport json\n")
    (package / "core.py").write_text("import os\nclass Client: ...\ndef helper(): ...\n")
    assert set(take(project)) == {"Client", "other"}
    install("import json\nfrom json import dumps\n__all__ = ['_odd', 'gone', 'dumps']\n_odd = 1\nplain = 2\n")
    names = take(project, "--force")
    assert set(names) == {"_odd", "gone", "dumps"}
    assert names["gone"] == {"kind": "unknown", "error": "AttributeError"}, "listed, never left out"


# A check that fails


DRIFT = {
    "a name is removed": ("def f(): ...\nX = 1\n", "X = 1\n", "acme.f was removed"),
    "a name is added": ("X = 1\n", "X = 1\nY = 2\n", "acme.Y was added"),
    "a parameter is removed": (
        "def f(a, b: int): ...\n",
        "def f(a): ...\n",
        "acme.f.signature: no longer b: int",
    ),
    "a parameter gets another type": (
        "def f(a: int): ...\n",
        "def f(a: list[str]): ...\n",
        "acme.f.signature: no longer a: int, now a: list[str]",
    ),
    "a default changes": ("def f(a=1): ...\n", "def f(a=2): ...\n", "acme.f.signature: no longer a = 1, now a = 2"),
    "parameters change places": ("def f(a, b): ...\n", "def f(b, a): ...\n", "acme.f.signature: another order"),
    "a method is removed": (
        "class C:\n    def m(self): ...\n",
        "class C: ...\n",
        "acme.C.members.m was removed",
    ),
    "a base is removed": (
        "class A: ...\nclass C(A): ...\n",
        "class A: ...\nclass C: ...\n",
        "acme.C.bases: no longer A, now object",
    ),
    "a member of an enum changes": (
        "import enum\nclass E(enum.Enum):\n    A = 1\n",
        "import enum\nclass E(enum.Enum):\n    A = 2\n",
        "acme.E.members.A was 1 and is 2",
    ),
    "a constant changes": ("X = 'a'\n", "X = 'b'\n", "acme.X.value was 'a' and is 'b'"),
    "a function becomes a class": (
        "def f(): ...\n",
        "class f: ...\n",
        "acme.f.kind was function and is class",
    ),
    "a field of a model is removed": (
        "from pydantic import BaseModel as B\nclass M(B):\n    a: int = 1\n    b: int = 2\n",
        "from pydantic import BaseModel as B\nclass M(B):\n    a: int = 1\n",
        "acme.M.schema.properties.b was removed",
    ),
    "a field of a model becomes required": (
        "from pydantic import BaseModel as B\nclass M(B):\n    a: int\n    b: int = 2\n",
        "from pydantic import BaseModel as B\nclass M(B):\n    a: int\n    b: int\n",
        "acme.M.schema.required: now b",
    ),
}


@pytest.mark.parametrize("case", DRIFT)
def test_a_difference_fails_and_is_named(project: Project, install: Install, case: str) -> None:
    before, after, told = DRIFT[case]
    install(before)
    take(project)
    assert check(project) == []
    install(after)
    assert f"acme 1.0: {told}" in check(project)
    install(before)
    assert check(project) == []


def test_without_a_snapshot_the_command_that_makes_it_is_named(project: Project, install: Install) -> None:
    install("X = 1\n")
    [finding] = findings(project.kitty("contract", "check", "--json"))
    assert finding["message"] == f"there is no snapshot of acme 1.0: {SNAPSHOT}"
    assert finding["hint"] == "make it: kitty contract snapshot acme"
    assert project.kitty(*finding["hint"].partition("kitty ")[2].split()).exit_code == 0
    assert check(project) == []


def test_a_new_version_needs_a_snapshot_of_its_own(project: Project, install: Install) -> None:
    install("X = 1\n")
    take(project)
    install("X = 1\n", version="2.0")
    assert check(project) == ["there is no snapshot of acme 2.0: tests/contract/snapshots/acme-2.0.json"]


DAMAGE = {
    "no JSON": ("{", "it cannot be read: Expecting property name"),
    "another shape": ("[]", "it is no snapshot"),
    "another distribution": ('"distribution": "other"', 'distribution is "other"'),
    "another version": ('"version": "0.9"', 'version is "0.9"'),
    "another schema": ('"schema": "kitty.contract/9"', 'schema is "kitty.contract/9"'),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_snapshot_that_is_none_or_somebody_elses_fails(project: Project, install: Install, case: str) -> None:
    written, told = DAMAGE[case]
    install("X = 1\n")
    take(project)
    said = json.loads((project.root / SNAPSHOT).read_text())
    path = project.write(SNAPSHOT, json.dumps(said | json.loads(f"{{{written}}}")) if ":" in written else written)
    [message] = check(project)
    assert message.startswith(f"{SNAPSHOT}: {told}")
    assert project.kitty("contract", "snapshot").exit_code == 1, "nor is it replaced without being asked"
    assert project.kitty("contract", "snapshot", "--force").exit_code == 0
    assert check(project) == []
    path.unlink()


def test_not_installed_fails(project: Project, install: Install) -> None:
    [finding] = findings(project.kitty("contract", "check", "--json"))
    assert finding["message"] == "acme is not installed"
    assert project.kitty("contract", "snapshot", "--json").code == "CONTRACT_DRIFT"
    assert not (project.root / SNAPSHOT).exists()


def test_installed_other_than_pinned_fails(project: Project, install: Install) -> None:
    install("X = 1\n")
    take(project)
    project.write("uv.lock", '[[package]]\nname = "acme"\nversion = "1.1"\n')
    assert check(project) == ["acme 1.0 is installed, but uv.lock wants ==1.1"]
    project.write("requirements.txt", "acme==1.0\n")
    assert check(project) == [
        "acme: uv.lock has 1.1, but requirements.txt wants ==1.0",
        "acme 1.0 is installed, but uv.lock wants ==1.1",
    ]
    project.write("uv.lock", '[[package]]\nname = "acme"\nversion = "1.0"\n')
    assert check(project) == []
    project.write("uv.lock", "[[package\n")
    [message] = check(project)
    assert message.startswith("uv.lock cannot be read:")


def test_nothing_pinned_at_all_fails(project: Project, install: Install) -> None:
    install("X = 1\n")
    take(project)
    project.write("pyproject.toml", '[project]\nname = "project"\ndependencies = ["acme"]\n')
    [finding] = findings(project.kitty("contract", "check", "--json"))
    assert finding["message"] == "nothing pins acme"
    assert finding["hint"] == "require it in pyproject.toml: acme==1.0"


MISBEHAVIOUR = {
    "prints": ("print('hello\\x1b[2J')", "importing acme prints 'hello"),
    "raises": ("raise ValueError('of its own')", "importing acme raises ValueError: of its own"),
    "exits": ("raise SystemExit(3)", "importing acme raises SystemExit: 3"),
    "ends the interpreter": ("import os; os._exit(3)", "importing acme ends Python with exit code 3"),
    "closes what it would answer on": ("import os; os.close(1)", "importing acme ends Python with exit code"),
}


@pytest.mark.parametrize("case", MISBEHAVIOUR)
def test_a_module_that_misbehaves_is_a_finding(project: Project, install: Install, case: str) -> None:
    source, told = MISBEHAVIOUR[case]
    install("X = 1\n")
    take(project)
    install(source)
    found = check(project)
    assert any(message.startswith(f"acme 1.0: {told}") for message in found), found
    assert "\x1b" not in project.kitty("contract", "check").stderr
    before = (project.root / SNAPSHOT).read_bytes()
    assert project.kitty("contract", "snapshot", "--force").exit_code == 1, "there is no snapshot of half a surface"
    assert (project.root / SNAPSHOT).read_bytes() == before


def test_one_module_that_fails_hides_no_other(project: Project, install: Install) -> None:
    package = install("X = 1\n")
    (package / "bad.py").write_text("raise ValueError('so')\n")
    (package / "good.py").write_text("print('loud')\n")
    project.write(".kittify/config.yaml", f"{CONFIG}      modules: [acme.bad, acme.good, acme.none]\n")
    assert check(project) == [
        "acme 1.0: importing acme.bad raises ValueError: so",
        "acme 1.0: importing acme.good prints 'loud'",
        "acme 1.0: importing acme.none raises ModuleNotFoundError: No module named 'acme.none'",
    ]


def test_a_module_that_hangs_is_ended_with_what_it_has_started(project: Project, install: Install) -> None:
    note = project.root.parent / "pid"
    install(
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    project.write(".kittify/config.yaml", CONFIG.replace("20", "3"))
    assert check(project) == ["acme 1.0: importing acme takes more than 3 seconds"]
    for _ in range(100):
        if not alive(int(note.read_text())):
            return
        time.sleep(0.1)
    raise AssertionError("its child is still there")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_what_a_module_leaves_behind_is_not_waited_for(project: Project, install: Install) -> None:
    install("import atexit, subprocess\natexit.register(print, 'bye')\nsubprocess.Popen(['sleep', '600'])\nX = 1\n")
    take(project)
    assert check(project) == []


# The commands


def test_a_snapshot_that_says_something_else_is_kept(project: Project, install: Install) -> None:
    install("X = 1\n")
    take(project)
    before = (project.root / SNAPSHOT).read_bytes()
    install("X = 2\n")
    done = project.kitty("contract", "snapshot", "--json")
    assert (done.exit_code, done.code) == (1, "CONTRACT_CHANGED")
    assert done.json["message"] == "the snapshot of acme 1.0 says something else: acme.X.value was 1 and is 2"
    assert (project.root / SNAPSHOT).read_bytes() == before
    assert project.kitty(*done.json["hint"].partition("kitty ")[2].split()).exit_code == 0
    assert (project.root / SNAPSHOT).read_bytes() != before


def test_all_or_nothing_is_written(project: Project, install: Install) -> None:
    install("X = 1\n")
    take(project)
    install("X = 2\n")
    install("Y = 1\n", name="other")
    project.write(
        ".kittify/config.yaml", CONFIG.replace("- distribution: acme", "[{distribution: other}, {distribution: acme}]")
    )
    before = project.snapshot()
    assert project.kitty("contract", "snapshot", "--json").code == "CONTRACT_CHANGED"
    assert project.snapshot() == before
    assert project.kitty("contract", "snapshot", "other", "--json").json["packages"][0]["written"] is True


def test_for_people_there_is_a_line_and_a_hint_for_each_finding(project: Project, install: Install) -> None:
    install("X = 1\n")
    take(project)
    install("".join(f"X{number} = 1\n" for number in range(40)))
    done = project.kitty("contract", "check")
    assert (done.exit_code, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "acme 1.0: acme.X was removed"
    assert lines[1].startswith(
        "  install what the snapshot was made of; if the change is meant: kitty contract snapshot acme --force"
    )
    assert "and 11 more; --json has them all" in lines
    assert lines[-2].startswith("CONTRACT_DRIFT: 41 findings")


def test_what_is_not_under_contract_is_not_guessed_about(project: Project, install: Install) -> None:
    done = project.kitty("contract", "check", "stranger", "--json")
    assert (done.exit_code, done.code) == (1, "CONTRACT_UNKNOWN")
    assert done.json["details"]["known"] == ["acme"]
    project.write(".kittify/config.yaml", "project:\n  slug: project\n")
    assert project.kitty("contract", "check", "--json").code == "CONTRACT_UNKNOWN", "a check of nothing proves nothing"


@pytest.mark.parametrize("directory", ["../elsewhere", "/elsewhere"])
def test_snapshots_stay_in_the_checkout(project: Project, install: Install, directory: str) -> None:
    install("X = 1\n")
    project.write(".kittify/config.yaml", CONFIG.replace("contract:\n", f"contract:\n  directory: {directory}\n"))
    assert project.kitty("contract", "snapshot", "--json").code == "CONFIG_INVALID"


def test_a_version_is_no_way_out(project: Project, install: Install) -> None:
    install("X = 1\n", version="../../../x")
    [finding] = findings(project.kitty("contract", "snapshot", "--json"))
    assert "Invalid version" in finding["message"]


def test_the_interpreter_of_the_projects_environment_is_asked(project: Project, install: Install) -> None:
    install("X = 1\n")
    site = project.root.parent / "venv-site"
    install_in(site, "X = 1\n", version="2.0")
    python = project.write(".venv/bin/python", f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    assert check(project) == ["there is no snapshot of acme 2.0: tests/contract/snapshots/acme-2.0.json"]
    assert check(project, "--python", sys.executable) == [f"there is no snapshot of acme 1.0: {SNAPSHOT}"]
    project.write(".kittify/config.yaml", CONFIG.replace("contract:\n", "contract:\n  python: none/python\n"))
    assert project.kitty("contract", "check", "--json").code == "CONTRACT_PYTHON"


def test_in_a_worktree_its_own_snapshots_and_pins_count(project: Project, install: Install) -> None:
    install("X = 1\n")
    take(project)
    project.git("add", ".")
    project.git("commit", "--quiet", "-m", "pinned")
    project.git("worktree", "add", "--quiet", "../beside")
    beside = project.root.parent / "beside"
    project.write("requirements.txt", "acme==1.5\n", where=beside)
    done = project.kitty("contract", "check", "--json", where=beside)
    assert [one["message"] for one in findings(done)] == ["acme 1.0 is installed, but requirements.txt wants ==1.5"]
    assert check(project) == []


def test_kittys_own_modules_are_not_on_the_path(project: Project, install: Install) -> None:
    install("X = 1\n")
    project.write(".kittify/config.yaml", f"{CONFIG}      modules: [surface]\n")
    assert "acme 1.0: importing surface raises ModuleNotFoundError: No module named 'surface'" in check(project)
