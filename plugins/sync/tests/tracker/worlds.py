"""Two trackers as they are outside: a server on loopback that speaks GitHub's issues, and a command `bd`. Both keep them in SQLite.

Each can be told to fail: so many times, with a status, after the work is done, or by killing whoever asks.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

WRITES = ("POST", "PATCH", "create", "update")
TABLES = (
    "CREATE TABLE IF NOT EXISTS issues (id INTEGER PRIMARY KEY AUTOINCREMENT, gone INTEGER DEFAULT 0, data TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS calls (number INTEGER PRIMARY KEY, verb TEXT, what TEXT)",
    "CREATE TABLE IF NOT EXISTS failing (number INTEGER PRIMARY KEY, verb TEXT, how TEXT)",
)


class World:
    """What a test sees of a tracker, and does to it behind kitty's back."""

    provider = ""
    workspace = ""
    changes_labels_to_none = True

    def __init__(self, directory: Path) -> None:
        self.database = directory / "tracker.sqlite"
        self.released = directory / "released"
        for table in TABLES:
            self.run(table)

    def run(self, query: str, *values: Any) -> list[Any]:
        """One transaction."""
        database = sqlite3.connect(self.database, timeout=30)
        try:
            with database:
                cursor = database.execute(query, values)
                return [cursor.lastrowid] if query.startswith("INSERT") else cursor.fetchall()
        finally:
            database.close()

    def issues(self) -> dict[str, dict[str, Any]]:
        """Every issue that there is, by id: title, body, labels, assignees, state."""
        rows = self.run("SELECT id, data FROM issues WHERE NOT gone ORDER BY id")
        return {self.name_of(number): json.loads(data) for number, data in rows}

    def only(self) -> tuple[str, dict[str, Any]]:
        """The one issue that there is."""
        ((found, issue),) = self.issues().items()
        return found, issue

    def add(self, title: str, body: str = "", **fields: Any) -> str:
        """An issue that somebody else made."""
        data = {
            "title": title,
            "body": body,
            "labels": [],
            "assignees": [],
            "state": "open",
            **fields,
            "updated": stamp(),
        }
        return self.name_of(self.run("INSERT INTO issues (data) VALUES (?)", json.dumps(data))[0])

    def edit(self, name: str, **fields: Any) -> None:
        """Somebody changes an issue."""
        data = {**self.issues()[name], "updated": stamp(), **fields}
        self.run("UPDATE issues SET data = ? WHERE id = ?", json.dumps(data), self.number_of(name))

    def delete(self, name: str) -> None:
        """Somebody deletes an issue."""
        self.run("UPDATE issues SET gone = 1 WHERE id = ?", self.number_of(name))

    def fail(self, *how: str, verb: str = "") -> None:
        """What happens to the next requests, in this order: of one kind, or of any."""
        for one in how:
            self.run("INSERT INTO failing (verb, how) VALUES (?, ?)", verb, one)

    def calls(self) -> list[tuple[str, str]]:
        """Everything that was asked so far: how, and what was sent."""
        return self.run("SELECT verb, what FROM calls ORDER BY number")

    def writes(self) -> list[tuple[str, str]]:
        """What was asked that may have changed something."""
        return [call for call in self.calls() if call[0] in WRITES]

    def sent(self) -> list[set[str]]:
        """The fields of every change of an issue."""
        raise NotImplementedError

    def name_of(self, number: int) -> str:
        return str(number)

    def number_of(self, name: str) -> int:
        return int(name.rpartition("-")[2])

    def hold(self) -> None:
        """Wait until a test lets this request go on."""
        while not self.released.exists():
            time.sleep(0.01)

    def next_failure(self, verb: str) -> str:
        """The failure that this request meets; empty where it meets none."""
        found = self.run("SELECT number, how FROM failing WHERE verb IN ('', ?) ORDER BY number LIMIT 1", verb)
        if not found or found[0][1].startswith("always"):
            return found[0][1].removeprefix("always ") if found else ""
        self.run("DELETE FROM failing WHERE number = ?", found[0][0])
        return str(found[0][1])

    def close(self) -> None:
        """End it."""


class GitHub(World):
    """GitHub's REST interface for issues, as far as it concerns them. https://docs.github.com/rest/issues"""

    provider, workspace = "github", "cats/shop"
    token = "github-token"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.whom: Callable[[], int] = os.getpid
        """Who is killed where a failure says `kill`."""
        self.collaborators: set[str] | None = None
        import asyncio
        import socket

        import uvicorn

        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(self._app(), log_level="critical", lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve(sockets=[listening])), daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def close(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(10)

    def sent(self) -> list[set[str]]:
        return [set(json.loads(what.partition(" ")[2])) for verb, what in self.calls() if verb == "PATCH"]

    def pull_request(self, title: str) -> str:
        """Pull requests are among the issues."""
        return self.add(title, pull_request={"url": "https://example.invalid"})

    def _app(self) -> Any:
        from starlette.applications import Starlette
        from starlette.routing import Route

        below = f"/repos/{self.workspace}/issues"
        return Starlette(
            routes=[
                Route(below, self._all, methods=["GET", "POST"]),
                Route(below + "/{number:int}", self._one, methods=["GET", "PATCH"]),
                Route("/{path:path}", lambda request: said(404, "Not Found"), methods=["GET", "POST", "PATCH"]),
            ]
        )

    async def _all(self, request: Any) -> Any:
        body = await request.body()
        return self._answered(request, body, self._create if request.method == "POST" else self._list)

    async def _one(self, request: Any) -> Any:
        body = await request.body()
        return self._answered(request, body, self._patch if request.method == "PATCH" else self._get)

    def _answered(self, request: Any, body: bytes, act: Callable[[Any, Any], Any]) -> Any:
        from starlette.responses import HTMLResponse

        what = f"{request.url.path}?{request.url.query} {body.decode()}"
        self.run("INSERT INTO calls (verb, what) VALUES (?, ?)", request.method, what)
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return said(401, "Bad credentials")
        how = self.next_failure(request.method)
        if how in ("lost", "kill"):
            act(request, json.loads(body or b"{}"))
            if how == "kill":
                os.kill(self.whom(), signal.SIGKILL)
            return Dropped()
        if how == "hold":
            self.hold()
            how = ""
        if how == "html":
            return HTMLResponse("<h1>\x1b[31mBad gateway</h1>" + "x" * 1_000_000, status_code=502)
        if how == "nonsense":
            return HTMLResponse("<h1>Welcome to the hotel</h1>")
        if how.startswith("done"):
            act(request, json.loads(body or b"{}"))
            how = how.removeprefix("done ")
        if how:
            status, _, after = how.partition(" ")
            return said(int(status), "no", **({"retry-after": after} if after else {}))
        return act(request, json.loads(body or b"{}"))

    def _list(self, request: Any, _: Any) -> Any:
        from starlette.responses import JSONResponse

        asked = request.query_params
        size, page = min(int(asked.get("per_page", 30)), 100), int(asked.get("page", 1))
        rows = self.run("SELECT id, data FROM issues WHERE NOT gone ORDER BY id DESC")
        found = [self._shape(number, json.loads(data)) for number, data in rows]
        found = [one for one in found if asked.get("state", "open") in ("all", one["state"])]
        found = [one for one in found if one["updated_at"] >= asked.get("since", "")]
        return JSONResponse(found[(page - 1) * size : page * size])

    def _get(self, request: Any, _: Any) -> Any:
        from starlette.responses import JSONResponse

        number = request.path_params["number"]
        rows = self.run("SELECT gone, data FROM issues WHERE id = ?", number)
        if not rows:
            return said(404, "Not Found")
        return (
            said(410, "This issue was deleted")
            if rows[0][0]
            else JSONResponse(self._shape(number, json.loads(rows[0][1])))
        )

    def _create(self, request: Any, body: dict[str, Any]) -> Any:
        return self._written(None, {"state": "open", "labels": [], "assignees": [], "body": None}, body)

    def _patch(self, request: Any, body: dict[str, Any]) -> Any:
        number = request.path_params["number"]
        rows = self.run("SELECT data FROM issues WHERE id = ? AND NOT gone", number)
        return self._written(number, json.loads(rows[0][0]), body) if rows else said(404, "Not Found")

    def _written(self, number: int | None, before: dict[str, Any], body: dict[str, Any]) -> Any:
        from starlette.responses import JSONResponse

        if not str(body.get("title", before.get("title", ""))).strip() or len(body.get("body") or "") > 65_536:
            return said(
                422, "Validation Failed", errors=[{"resource": "Issue", "field": "title", "code": "missing_field"}]
            )
        data = {**before, **body, "updated": stamp()}
        if self.collaborators is not None:  # others are left out without a word
            data["assignees"] = [one for one in data["assignees"] if one in self.collaborators]
        if number is None:
            number = self.run("INSERT INTO issues (data) VALUES (?)", json.dumps(data))[0]
            return JSONResponse(self._shape(number, data), status_code=201)
        self.run("UPDATE issues SET data = ? WHERE id = ?", json.dumps(data), number)
        return JSONResponse(self._shape(number, data))

    def _shape(self, number: int, data: dict[str, Any]) -> dict[str, Any]:
        page = f"https://github.invalid/{self.workspace}/issues/{number}"
        return {
            "id": 1_000_000 + number,
            "node_id": f"I_{number}",
            "url": f"{self.address}/repos/{self.workspace}/issues/{number}",
            "html_url": page,
            "number": number,
            "state": data["state"],
            "state_reason": "completed" if data["state"] == "closed" else None,
            "title": data["title"],
            "body": data["body"],
            "user": {"login": "octocat", "id": 1},
            "labels": [{"id": at, "name": name, "color": "ededed"} for at, name in enumerate(data["labels"])],
            "assignee": {"login": data["assignees"][0]} if data["assignees"] else None,
            "assignees": [{"login": name} for name in data["assignees"]],
            "locked": False,
            "comments": 0,
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": data["updated"],
            "closed_at": data["updated"] if data["state"] == "closed" else None,
            **({"pull_request": data["pull_request"]} if "pull_request" in data else {}),
        }


class Dropped:
    """An answer that is cut off: the connection is closed in the middle of it."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})


class Beads(World):
    """The command `bd`, as far as the connector uses it."""

    provider, workspace = "beads", "shop"
    changes_labels_to_none = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.command = directory / "bin" / "bd"
        self.command.parent.mkdir()
        here = str(Path(__file__).parent)
        self.command.write_text(
            textwrap.dedent(
                f"""\
                #!{sys.executable}
                import sys
                sys.path.insert(0, {here!r})
                from pathlib import Path
                from worlds import bd
                sys.exit(bd(Path({str(directory)!r}), sys.argv[1:]))
                """
            )
        )
        self.command.chmod(0o755)

    def sent(self) -> list[set[str]]:
        named = {"--title": "title", "--description": "body", "--set-labels": "labels", "--status": "state"}
        return [
            {named[one] for one in json.loads(what) if one in named} for verb, what in self.calls() if verb == "update"
        ]

    def name_of(self, number: int) -> str:
        return f"shop-{number}"


class _Open(Beads):
    """The same from inside the command."""

    def __init__(self, directory: Path) -> None:
        World.__init__(self, directory)


def bd(directory: Path, arguments: list[str]) -> int:
    """What the command does. `--json` comes first."""
    world = _Open(directory)
    flag, verb, *rest = arguments
    assert flag == "--json"
    world.run("INSERT INTO calls (verb, what) VALUES (?, ?)", verb, json.dumps(rest))
    how = world.next_failure(verb)
    if how.startswith("refused"):
        sys.stderr.write("Error: validation failed: no" + "\n")
        return 1
    if how == "hold":
        world.hold()
    elif how and how not in ("lost", "kill", "nonsense"):
        sys.stderr.write("Error: database is locked" + "\n")
        return 1
    if how == "nonsense":
        sys.stdout.write("Welcome to the hotel")
        return 0
    status = {"list": _bd_list, "show": _bd_show, "create": _bd_create, "update": _bd_update}[verb](world, rest)
    if how == "kill":
        os.kill(os.getppid(), signal.SIGKILL)
    if how == "lost":
        sys.stderr.write("Error: connection reset" + "\n")
        return 1
    (sys.stderr if status[0] else sys.stdout).write(status[1])
    return status[0]


def _bd_list(world: World, rest: list[str]) -> tuple[int, str]:
    assert not rest
    return 0, json.dumps([_bead(name, data) for name, data in world.issues().items()])


def _bd_show(world: World, rest: list[str]) -> tuple[int, str]:
    found = world.issues().get(rest[0])
    if found is None:
        return 1, f"Error: no issue found matching {rest[0]!r}"
    return 0, json.dumps([_bead(rest[0], found)])


def _bd_create(world: World, rest: list[str]) -> tuple[int, str]:
    title, *options = rest
    if title.startswith("-"):
        return 1, f"Error: unknown flag: {title}"
    pairs = list(zip(options[::2], options[1::2], strict=True))
    given = dict(pairs)
    labels = [value for name, value in pairs if name == "--label"]
    name = world.add(title.strip(), given.get("--description", ""), labels=labels)
    return 0, json.dumps(_bead(name, world.issues()[name]))


def _bd_update(world: World, rest: list[str]) -> tuple[int, str]:
    name, *options = rest
    pairs = list(zip(options[::2], options[1::2], strict=True))
    if name not in world.issues():
        return 1, f"Error: no issue found matching {name!r}"
    fields = {"--title": "title", "--description": "body", "--status": "state"}
    changed: dict[str, Any] = {fields[key]: value for key, value in pairs if key in fields}
    labels = [value for key, value in pairs if key == "--set-labels"]
    world.edit(name, **changed, **({"labels": labels} if labels else {}))
    return 0, json.dumps([_bead(name, world.issues()[name])])


def _bead(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "title": data["title"],
        "description": data["body"],
        "status": data["state"],
        "priority": 2,
        "issue_type": "task",
        "assignee": (data["assignees"] or [None])[0],
        "labels": data["labels"],
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": data["updated"],
    }


def said(status: int, message: str, *, errors: Any = None, **headers: str) -> Any:
    """An error as GitHub says it."""
    from starlette.responses import JSONResponse

    body = {
        "message": message,
        "documentation_url": "https://docs.github.com/rest",
        **({"errors": errors} if errors else {}),
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse(body, status_code=status, headers=named)


def stamp() -> str:
    """Now, as both write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
