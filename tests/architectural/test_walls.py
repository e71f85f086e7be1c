"""The walls between the rooms. Each is a few lines of `ast`, and each is shown to catch what it is there to catch."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("merge", "intake", "runtime", "charter", "sync")
HOST = sorted((ROOT / "kitty_host").rglob("*.py"))
PLUGINS = sorted(path for name in NAMES for path in (ROOT / "plugins" / name / f"kitty_{name}").rglob("*.py"))
EVERYTHING = sorted(path for place in ("kitty_host", "plugins", "tests") for path in (ROOT / place).rglob("*.py"))
PEERS = {
    "spec_kitty_events": ("diary", "status", "conformance", "schemas", "strict"),
    "spec_kitty_tracker": (),
}
"""What others publish for all: the roots, and the modules below them that may be imported."""
# Dotted, or with a dash: `kitty_merge` alone is also the name of a hook.
NAMED = re.compile(rf"\bkitty-({'|'.join(NAMES)})\b|\bkitty_({'|'.join(NAMES)})[.:]")

PROCESSES = {
    "kitty_host/git.py": "runs Git for everybody",
    "plugins/charter/kitty_charter/suite.py": "runs the commands that are gates, each in a session that is ended with it",
    "plugins/charter/kitty_charter/introspect.py": "asks the interpreter of the project, which is not kitty's",
    "plugins/runtime/kitty_runtime/mcp.py": "runs kitty's own commands, which a client can interrupt",
    "kitty_host/posix.py": "ends what others started, with all of its session",
    "kitty_host/windows.py": "the same, where there are no sessions",
    "kitty_host/testing.py": "fixtures run kitty as a user would, and plain Git to compare with",
}
NETWORK = {
    "plugins/sync/kitty_sync/transport.py": "sends whatever is sent, with the token of whoever it is sent to",
    "kitty_host/loopback.py": "listens on loopback, and sends nothing of its own accord",
    "plugins/runtime/kitty_runtime/serve.py": "answers there, and sends nothing of its own accord",
}
SERVERS = ("plugins/sync/kitty_sync/hub/",)
"""What is below answers; the client never imports it."""
CLIENTS = re.compile(
    r"(httpx|httpcore|h11|h2|requests|urllib\.request|urllib3|http\.client|aiohttp|websockets|websocket|httplib2|pycurl"
    r"|socket|_socket|socketserver|ssl|ftplib|smtplib|xmlrpc|telnetlib)(\.|$)"
    r"|asyncio\.(streams\.)?(open_connection|open_unix_connection|start_server)$|.*\.create_(unix_)?connection$"
)
FILES = {
    "kitty_host/files.py": "owns every rename, link and lock",
    "kitty_host/posix.py": "does it for files.py as Linux and macOS do",
    "kitty_host/windows.py": "does it for files.py as Windows does",
}
SYSTEMS = {
    "kitty_host/system.py": "chooses one of the next two, once",
    "kitty_host/posix.py": "what Linux and macOS do, and where they differ",
    "kitty_host/windows.py": "what Windows does",
}
ONE_SYSTEMS = (
    "O_NOFOLLOW|O_NONBLOCK|O_DIRECTORY|O_BINARY|O_TMPFILE|fdatasync|fchmod|fork|forkpty|killpg|getpgid|setsid|getuid|geteuid|uname"
    "|fsync|sendfile|posix_fallocate|mkfifo|openat|name"
)
"""What `os` has on some systems only, or what means something else on each."""


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{name.name}") for name in node.names)


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def attributes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """`os.replace` and the like; a method of anything else as `.rename`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, f"{node.value.id if isinstance(node.value, ast.Name) else ''}.{node.attr}"


def owner(path: str) -> str:
    """The plugin that a file belongs to."""
    found = re.match(r"plugins/(\w+)/", path)
    return found[1] if found else ""


# The walls: each yields lines and what is wrong there.


def names_another_plugin(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    mine = f"kitty_{owner(path)}"
    for line, name in imports(tree):
        top = name.partition(".")[0]
        if top != mine and top in {f"kitty_{other}" for other in NAMES}:
            yield line, f"imports {top}"
    for line, text in texts(tree):
        for found in NAMED.finditer(text):
            if (found[1] or found[2]) != owner(path):
                yield line, f"names {found[0]}"


def starts_processes(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for line, name in imports(tree):
        if re.match(
            r"(subprocess|multiprocessing|pty)\b|asyncio\.subprocess|os\.(system|popen|exec|spawn|posix_spawn)", name
        ):
            yield line, name
    for line, name in attributes(tree):
        if re.match(
            r"os\.(system|popen|exec|spawn|posix_spawn|fork)|asyncio\.create_subprocess|anyio\.(open|run)_process", name
        ):
            yield line, name


def sends(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    if path.startswith(SERVERS):
        return
    for line, name in [*imports(tree), *attributes(tree), *loaded(tree)]:
        if CLIENTS.match(name):
            yield line, name


def loaded(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What is imported by its name."""
    for node in ast.walk(tree):
        name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and name in ("import_module", "__import__", "find_spec", "resolve_name"):
            yield from ((line, text.replace(":", ".")) for argument in node.args[:1] for line, text in texts(argument))


def renames_links_or_locks(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for line, name in imports(tree):
        if re.match(r"(fcntl|filelock|msvcrt)\b|os\.(replace|rename|renames|link|O_NOFOLLOW)$|shutil\.move", name):
            yield line, name
    for line, name in attributes(tree):
        if re.search(
            r"^os\.(replace|renames?|link)$|^shutil\.move$|\.(rename|hardlink_to|O_NOFOLLOW|flock|lockf)$", name
        ):
            yield line, name
    for node in ast.walk(tree):
        # A text is replaced by two arguments, a file by one.
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "replace":
            yield from [(node.lineno, ".replace of a file")] if len(node.args) == 1 and not node.keywords else []


def asks_which_system(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for line, name in imports(tree):
        if re.match(
            rf"(fcntl|msvcrt|termios|tty|pwd|grp|resource|winreg|_winapi|platform)(\.|$)|sys\.platform$|os\.({ONE_SYSTEMS})$",
            name,
        ):
            yield line, name
    for line, name in attributes(tree):
        if re.match(rf"sys\.platform$|os\.({ONE_SYSTEMS})$", name):
            yield line, name
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("dir_fd", "preexec_fn"):
            yield node.value.lineno, node.arg


def leaves_the_encoding_to_the_system(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = {one.arg for one in node.keywords}
        # Metadata of a distribution is asked for by name, and is UTF-8.
        if name == "read_text" and "encoding" not in given and not node.args:
            yield node.lineno, "reads a text in whatever encoding"
        elif name == "write_text" and not {"encoding", "newline"} <= given:
            yield node.lineno, "writes a text with whatever encoding and ends of lines"
        elif (
            name in ("run", "Popen", "check_output")
            and given & {"text", "universal_newlines"}
            and "encoding" not in given
        ):
            yield node.lineno, "hears a program in whatever encoding"
        elif (
            name in ("open", "fdopen", "NamedTemporaryFile", "TextIOWrapper")
            and is_a_text(node)
            and "encoding" not in given
        ):
            yield node.lineno, "opens a text in whatever encoding"


def is_a_text(call: ast.Call) -> bool:
    """Whether a call opens a text by a mode that says so; `os.open` and the like have none."""
    modes = [one.value for one in [*call.args, *(key.value for key in call.keywords)] if isinstance(one, ast.Constant)]
    return any(isinstance(mode, str) and re.fullmatch(r"[rwax]\+?t?|t?[rwax]\+?", mode) for mode in modes)


def is_no_plain_manifest(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    allowed = {"__future__", "typing", "collections.abc", "kitty_host.api"}
    for node in run_at_import(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names if name.name not in allowed)
        elif isinstance(node, ast.ImportFrom) and (node.level or node.module not in allowed):
            yield node.lineno, str(node.module)


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for_types = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        if not for_types:
            yield child
            yield from run_at_import(child)


def has_no_docstring(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    assert isinstance(tree, ast.Module)
    if not ast.get_docstring(tree):
        yield 1, "no docstring"


def looks_at_the_current_directory(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for line, name in attributes(tree):
        if re.search(r"^os\.(getcwdb?|f?chdir|curdir)$|^Path\.cwd$|\.cwd$", name):
            yield line, name


def skips_hooks_of_the_user(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for line, text in texts(tree):
        if re.fullmatch(r"--no-verify|-n\b.*commit|core\.hooksPath(=.*)?", text):
            yield line, text


def imports_what_is_not_public(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for line, name in [*imports(tree), *texts(tree)]:
        top, *rest = name.split(".")
        if top in PEERS and rest and all(map(str.isidentifier, rest)):
            known = rest[0] in PEERS[top] or (len(rest) == 1 and rest[0] in public_names(top))
            yield from [] if known and not any(part.startswith("_") for part in rest) else [(line, name)]
    bound = {
        one.asname or one.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for one in node.names
        if (one.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0] in PEERS
    }
    for line, name in attributes(tree):
        of, _, attribute = name.partition(".")
        yield from [(line, name)] if of in bound and re.match("_(?!_)", attribute) else []


def public_names(package: str) -> set[str]:
    """What every version has that there is a snapshot of."""
    files = (ROOT / "tests/contract/snapshots").glob(f"{package.replace('_', '-')}-*.json")
    return set.intersection(*(set(json.loads(path.read_text())["modules"][package]) for path in files))


class Wall(NamedTuple):
    finds: Callable[[str, ast.AST], Iterable[tuple[int, str]]]
    files: list[Path]
    allowed: dict[str, str]
    planted: dict[str, str]
    """Sources that break the wall, by what they do."""
    fine: str
    """A source that comes close and does not."""
    path: str = "plugins/merge/kitty_merge/planted.py"
    """Where the planted sources would lie."""


WALLS = {
    "plugins never import or name each other": Wall(
        names_another_plugin,
        PLUGINS,
        {},
        {
            "imports a package": "import kitty_runtime\n",
            "imports from a module": "from kitty_sync.queue import put\n",
            "imports inside a function": "def f():\n    import kitty_charter.gates\n",
            "names a target": "load('kitty_intake.cli:intake')\n",
            "names a distribution": "HINT = 'pip install kitty-sync'\n",
        },
        "from kitty_merge import x\nfirst('kitty_intake')\nCommand('merge', 'kitty_merge.cli:merge', 'Merge.')\n",
    ),
    "the host never imports or names a plugin": Wall(
        names_another_plugin,
        HOST,
        {},
        {
            "imports a package": "import kitty_merge\n",
            "imports inside a function": "def f():\n    from kitty_merge import cli\n",
            "names a target": "TARGET = 'kitty_merge.cli:merge'\n",
            "names a distribution": "HINT = 'pip install kitty-merge'\n",
        },
        "from kitty_host.hooks import kitty_merge\nfirst('kitty_merge')\n",
        "kitty_host/planted.py",
    ),
    "one module starts processes": Wall(
        starts_processes,
        HOST + PLUGINS,
        PROCESSES,
        {
            "imports subprocess": "import subprocess\n",
            "imports from it": "from subprocess import run\n",
            "imports it inside": "def f():\n    import subprocess as s\n",
            "calls os.system": "import os\nos.system('git gc')\n",
            "calls os.execvp": "import os\nos.execvp('git', [])\n",
            "calls os.posix_spawn": "from os import posix_spawn\n",
            "uses multiprocessing": "import multiprocessing\n",
            "uses asyncio": "import asyncio\nasyncio.create_subprocess_exec('git')\n",
            "uses anyio": "import anyio\nanyio.open_process(['git'])\n",
        },
        "import os\nos.getpid()\nmission.repo.git.run('status')\n",
    ),
    "one module sends": Wall(
        sends,
        HOST + PLUGINS,
        NETWORK,
        {
            "imports httpx": "import httpx\n",
            "imports from it": "from httpx import Client\n",
            "imports what it is made of": "import httpcore\n",
            "imports it inside": "def f():\n    import httpx as h\n",
            "imports it for types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import httpx\n",
            "imports requests": "import requests\n",
            "imports from requests": "from requests.sessions import Session\n",
            "imports urllib": "import urllib.request\n",
            "imports urllib from": "from urllib.request import urlopen\n",
            "imports the module from urllib": "from urllib import request\n",
            "uses it through another import": "import urllib.parse\nurllib.request.urlopen('https://a')\n",
            "imports urllib3": "import urllib3\n",
            "imports http.client": "from http import client\n",
            "imports aiohttp": "import aiohttp\n",
            "imports websockets": "from websockets.sync.client import connect\n",
            "imports websocket": "import websocket\n",
            "imports socket": "import socket\n",
            "imports from socket": "from socket import create_connection\n",
            "imports ssl": "import ssl\n",
            "uses asyncio": "import asyncio\nasyncio.open_connection('a', 1)\n",
            "uses a loop": "loop.create_connection(Protocol, 'a', 1)\n",
            "loads it by name": "import importlib\nimportlib.import_module('httpx')\n",
            "loads it by a bare name": "from importlib import import_module\nimport_module('urllib.request')\n",
            "loads it as the interpreter does": "__import__('websockets')\n",
            "loads what it names": "import pkgutil\npkgutil.resolve_name('http.client:HTTPConnection')\n",
        },
        "from urllib.parse import urlsplit\nimport http\nhttp.HTTPStatus.OK\nrequests = []\nself.requests.append(1)\n"
        "import importlib\nimportlib.import_module(name)\nimport asyncio\nasyncio.run(f())\nself.socket.close()\n",
    ),
    "one module renames, links and locks": Wall(
        renames_links_or_locks,
        HOST + PLUGINS,
        FILES,
        {
            "calls os.replace": "import os\nos.replace(a, b)\n",
            "imports os.replace": "from os import replace\n",
            "calls os.rename": "import os\nos.rename(a, b)\n",
            "calls os.link": "import os\nos.link(a, b)\n",
            "renames a path": "path.rename(other)\n",
            "replaces a path": "path.replace(other)\n",
            "links a path": "path.hardlink_to(other)\n",
            "moves with shutil": "import shutil\nshutil.move(a, b)\n",
            "locks": "import fcntl\nfcntl.flock(1, 2)\n",
            "imports a lock library": "from filelock import FileLock\n",
            "opens without following links": "import os\nos.open(p, os.O_NOFOLLOW)\n",
        },
        "'a'.replace('b', 'c')\nmoment.replace(tzinfo=UTC)\nimport os\nos.symlink(a, b)\n",
    ),
    "one module knows which system it is": Wall(
        asks_which_system,
        HOST + PLUGINS,
        SYSTEMS,
        {
            "asks sys": "import sys\nif sys.platform == 'darwin':\n    pass\n",
            "takes it from sys": "from sys import platform\n",
            "asks os": "import os\nWINDOWS = os.name == 'nt'\n",
            "asks platform": "import platform\n",
            "asks uname": "import os\nos.uname()\n",
            "locks": "def f():\n    import fcntl\n",
            "locks as Windows does": "import msvcrt\n",
            "steers a terminal": "import termios\n",
            "limits itself": "import resource\n",
            "looks a user up": "from pwd import getpwuid\n",
            "asks who it runs as": "import os\nos.geteuid()\n",
            "syncs by itself": "import os\nos.fsync(1)\n",
            "syncs as Linux does": "import os\nsync = os.fdatasync\n",
            "opens as POSIX does": "import os\nos.open(p, os.O_DIRECTORY)\n",
            "opens below a handle": "import os\nos.stat(p, dir_fd=d)\n",
            "ends a group": "from os import killpg\n",
            "forks": "import os\nos.fork()\n",
        },
        "import os\nimport sys\nfrom kitty_host.system import sync\nsync(1)\nos.path.join(a, b)\npath.name\nsys.version\n"
        "os.open(p, os.O_RDONLY)\n",
    ),
    "a text is written alike everywhere": Wall(
        leaves_the_encoding_to_the_system,
        HOST + PLUGINS,
        {},
        {
            "reads": "path.read_text()\n",
            "reads with its errors": "path.read_text(errors='replace')\n",
            "writes": "path.write_text(text)\n",
            "writes with the system's ends of lines": "path.write_text(text, encoding='utf-8')\n",
            "opens": "open(p, 'w')\n",
            "opens a path": "path.open('r')\n",
            "opens by keyword": "path.open(mode='a')\n",
            "hears a program": "subprocess.run(['a'], text=True)\n",
        },
        "path.read_text(encoding='utf-8')\npath.write_text(t, encoding='utf-8', newline='\\n')\npath.open('rb')\nopen(p, 'wb')\n"
        "distribution.read_text('RECORD')\nos.open(p, os.O_RDONLY)\nwebbrowser.open(url)\nsubprocess.run(['a'])\n",
    ),
    "a manifest imports the door and nothing else": Wall(
        is_no_plain_manifest,
        [path for path in HOST + PLUGINS if path.name == "plugin.py"],
        {},
        {
            "imports a heavy module": "import json\n",
            "imports records": "from kitty_host.records import Gate\n",
            "imports its own package": "from kitty_merge.cli import merge\n",
            "imports relatively": "from . import cli\n",
            "imports in a try": "try:\n    import rich\nexcept ImportError:\n    pass\n",
            "imports in a class": "class A:\n    import json\n",
            "imports in a branch": "if True:\n    if 1:\n        import json\n",
        },
        "from kitty_host.api import Command, hookimpl\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from kitty_host.records import Gate\ndef kitty_gates():\n    import json\n",
    ),
    "every module says what it owns": Wall(
        has_no_docstring, HOST + PLUGINS, {}, {"says nothing": "import os\n"}, '"""Owns something."""\n'
    ),
    "one look at the current directory": Wall(
        looks_at_the_current_directory,
        HOST + PLUGINS,
        {},
        {
            "asks os": "import os\nos.getcwd()\n",
            "asks pathlib": "from pathlib import Path\nPath.cwd()\n",
            "goes elsewhere": "import os\nos.chdir('/')\n",
        },
        "call.directory\nsubprocess_run(cwd=directory)\n",
    ),
    "of the peer's packages only what is public is imported": Wall(
        imports_what_is_not_public,
        EVERYTHING,
        {},
        {
            "imports a private module": "from spec_kitty_events._iso8601 import parse\n",
            "imports a private name": "from spec_kitty_events.status import _TRANSITIONS\n",
            "imports a module that is not for all": "import spec_kitty_tracker.connectors.base\n",
            "imports a name that only one generation has": "from spec_kitty_events import ActionOutcome\n",
            "imports it inside": "def f():\n    from spec_kitty_events.storage import EventStore\n",
            "loads it by name": "import_module('spec_kitty_events._iso8601')\n",
            "reaches into a module": "from spec_kitty_events import diary\ndiary._fold(rows)\n",
            "reaches in by another name": "import spec_kitty_events.status as s\ns._TRANSITIONS\n",
        },
        "import spec_kitty_events\nfrom spec_kitty_events import Event, diary\nfrom spec_kitty_events.status import reduce_status_events\n"
        "from spec_kitty_tracker import SyncEngine\nlog('spec_kitty_events.diary')\nself._own()\nspec_kitty_events.__version__\n",
    ),
    "hooks of the user's repository are never skipped": Wall(
        skips_hooks_of_the_user,
        HOST + PLUGINS,
        {
            "kitty_host/git.py": "says which directory's hooks run, where a worktree has none",
            "plugins/merge/kitty_merge/scratch.py": "nobody's hooks are for kitty's own worktree; those for its commits run by name",
        },
        {
            "skips them": "git.run('commit', '--no-verify')\n",
            "hides them": "git.run('-c', 'core.hooksPath=/dev/null')\n",
            "hides them in a table": "SETTINGS = {'core.hooksPath': '/dev/null'}\n",
        },
        "git.run('commit', '-m', text)\n",
    ),
}


@pytest.mark.parametrize("name", WALLS)
def test_the_wall_stands(name: str) -> None:
    wall = WALLS[name]
    assert wall.files, "there is nothing on either side"
    broken = [
        f"{path}:{line}: {what}"
        for file in wall.files
        if (path := file.relative_to(ROOT).as_posix()) not in wall.allowed
        for line, what in wall.finds(path, ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert broken == []


@pytest.mark.parametrize(
    ("name", "planted"), [(name, planted) for name, wall in WALLS.items() for planted in wall.planted]
)
def test_the_wall_would_be_missed(name: str, planted: str) -> None:
    wall = WALLS[name]
    assert list(wall.finds(wall.path, ast.parse(wall.planted[planted])))


@pytest.mark.parametrize("name", WALLS)
def test_the_wall_is_in_nobodys_way(name: str) -> None:
    wall = WALLS[name]
    assert list(wall.finds(wall.path, ast.parse(wall.fine))) == []


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, wall in WALLS.items() for path in wall.allowed])
def test_a_door_in_the_wall_is_used(name: str, path: str) -> None:
    wall = WALLS[name]
    assert list(wall.finds(path, ast.parse((ROOT / path).read_text(encoding="utf-8")))), "close it"
    assert wall.allowed[path], "say why"


PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]
RUNTIME = re.compile(r"spec[-_.]+kitty[-_.]+runtime", re.IGNORECASE)


def test_no_distribution_needs_the_runtime_of_the_peer() -> None:
    assert len(PROJECTS) == 6
    assert [str(path) for path in PROJECTS if RUNTIME.search(path.read_text(encoding="utf-8"))] == []
    assert RUNTIME.search('dependencies = ["Spec_Kitty.runtime>=1"]')
