"""Who may do what: every call of the route table, by everybody there is. A call that is not in the table here fails."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import update

from kitty_host.plugins import Plugins
from kitty_sync.hub import accounts, ingest, schema, signin, tokens
from kitty_sync.hub.audit import By
from kitty_sync.hub.live import Live
from kitty_sync.hub.store import Store

from ..hub import PROJECT, record
from .browser import Here

PLACE = "192.0.2.7"
SECRET = "only-of-one"
"""A mission's name, which nobody outside of the team may see."""
ROLES = ("owner", "writer", "reader")
OUTSIDE = ("nobody", "revoked", "expired", "removed")
PEOPLE = (*ROLES, "elsewhere", *OUTSIDE)
"""`elsewhere`: an owner of another team."""
MEMBERS = (*ROLES, "elsewhere")

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://hub.example.org"}


class Call(NamedTuple):
    """A call, and who it is for."""

    by: str
    """`anyone`; `token` or `browser`: whoever has one of a member; `writer`, `owner`: tokens of these roles alone;
    `team`: of this team alone; `form`, `pass`: nobody with what people have here, since it takes the secret of a page, or what
    a token was changed for."""
    shows: bool = False
    """Whether a member is told about the team's mission."""
    body: bytes = b""
    headers: Mapping[str, str] = {}
    query: str = ""


BATCH = json.dumps({"events": [record(7)]}).encode()
CALLS = {
    ("GET", "/healthz"): Call("anyone"),
    ("GET", "/readyz"): Call("anyone"),
    ("GET", "/openapi.json"): Call("anyone"),
    ("GET", "/"): Call("browser"),
    ("POST", "/oauth/device"): Call("anyone", body=b"client_id=cli_native", headers=FORM),
    ("POST", "/oauth/token"): Call("anyone", body=b"client_id=cli_native", headers=FORM),
    ("POST", "/oauth/revoke"): Call("anyone", body=b"token=khr_x", headers=FORM),
    ("GET", "/metrics"): Call("owner"),
    ("GET", "/v1/me"): Call("token"),
    ("GET", "/v1/events"): Call("token", shows=True),
    ("GET", "/v1/events/stream"): Call("token", shows=True),
    ("POST", "/v1/events"): Call("writer", body=BATCH, headers=JSON),
    ("GET", "/signin"): Call("anyone"),
    ("POST", "/signin"): Call("anyone", headers=FORM),
    ("GET", "/signin/code"): Call("anyone"),
    ("GET", "/signin/link"): Call("anyone", query="token=khl_x"),
    ("POST", "/signin/link"): Call("form", body=b"token=khl_x", headers=FORM),
    ("GET", "/activate"): Call("browser"),
    ("POST", "/activate"): Call("form", body=b"code=BCDF-GHJK&answer=approve", headers=FORM),
    ("GET", "/account"): Call("browser"),
    ("POST", "/account/end"): Call("form", body=b"session=x", headers=FORM),
    ("POST", "/signout"): Call("form", headers=FORM),
    ("GET", "/api/v1/health"): Call("anyone"),
    ("GET", "/api/v1/me"): Call("token"),
    ("GET", "/api/v1/session-status"): Call("token"),
    ("GET", "/api/v1/sync/health/"): Call("token"),
    ("POST", "/api/v1/events/batch/"): Call("writer", body=b'{"events": []}', headers=JSON),
    ("POST", "/api/dossier/push-content/"): Call("writer", body=b"{}", headers=JSON),
    ("POST", "/api/v1/ws-token"): Call("team", body=b'{"team_id": "one"}', headers=JSON),
    ("WS", "/api/v1/ws"): Call("pass"),
    **{("GET", f"/api/v1/tracker/{name}/"): Call("token") for name in ("resources", "status", "mappings")},
    ("POST", "/api/v1/tracker/bind-resolve/"): Call("token", body=b"{}", headers=JSON),
    **{
        (method, path): Call("token", body=b"{}", headers=JSON)
        for method in ("DELETE", "GET", "POST", "PUT")
        for path in ("/api/v1/tracker/{rest:path}", "/api/v1/sync/projects/{project}/sync-admission/")
    },
    ("GET", "/board"): Call("anyone"),
    ("GET", "/board/{project:uuid}"): Call("anyone"),
    **{
        ("GET", f"{start}{name}"): Call("browser", shows=name != "events")
        for start in ("/board/", "/board/{project:uuid}/")
        for name in ("", "events", "who", "history")
    },
}


class World(NamedTuple):
    """A hub in which everybody is, and what each shows."""

    here: Here
    tokens: dict[str, str]
    cookies: dict[str, str]


PAINTER = """
from kitty_host.api import hookimpl

@hookimpl
def kitty_board_page(states):
    from kitty_host.records import Page
    return Page(" ".join(one.mission.slug for one in states), "default-src 'none'")
"""


def drawing(site: Path) -> Plugins:
    """What is installed, and something that draws a board, which need not be."""
    info = site / "kitty_painter-1.0.dist-info"
    info.mkdir()
    (site / "matrix_painter.py").write_text(PAINTER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kitty-painter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kitty]\npainter = matrix_painter\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("KITTY_PLUGINS", "sync,painter")
        return Plugins.discover()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Nobody changes it: a refused call changes nothing, and a taken one adds what is there already."""
    store = Store(tmp_path_factory.mktemp("matrix") / "hub.db")
    here = Here(store, "http://hub.example.org", plugins=drawing(tmp_path_factory.mktemp("site")))
    by, found, cookies = By("ada", "command"), {"nobody": ""}, {"nobody": ""}
    for person in PEOPLE[:-4] + OUTSIDE[1:]:
        role = person if person in ROLES else "owner"
        who = here.add(f"{person}@example.org", "other" if person == "elsewhere" else "one", role)
        with store.writing() as database:
            pair = tokens.open_session(database, who.user_id, who.team_id, here.now, by)
            cookie = signin.begin(database, who.user_id, who.team_id, by, here.now)
            if person == "revoked":
                tokens.revoke(database, pair.access_token, here.now)
                for visit in signin.alive(database, who.team_id, here.now, who.user_id):
                    signin.end(database, visit["id"], here.now, by)
            elif person == "expired":
                database.execute(
                    update(schema.tokens)
                    .where(schema.tokens.c.digest == tokens.digest_of(pair.access_token))
                    .values(expires_at=here.now)
                )
                database.execute(update(schema.visits).where(schema.visits.c.user_id == who.user_id).values(used_at=0))
            elif person == "removed":
                accounts.remove(database, who, here.now, by)
        found[person], cookies[person] = pair.access_token, f"{signin.cookie_name(here.address)}={cookie}"
    owner = accounts_of(store, "owner@example.org")
    events = [record(7), record(8)]
    for one in events:
        one["mission_slug"] = SECRET
    with store.writing() as database:
        ingest.add(database, team_id=owner.team_id, judged=ingest.judge({"events": events}, owner), now=here.now)
    yield World(here, found, cookies)
    store.close()


def accounts_of(store: Store, email: str) -> accounts.Member:
    with store.reading() as database:
        [found] = accounts.memberships(database, email)
    return found


def routes(here: Here) -> list[tuple[str, str]]:
    """Every call that is answered, a websocket as `WS`."""
    found = []
    for route in here.application.routes:
        methods = getattr(route, "methods", None)
        found += [(method, route.path) for method in sorted(methods - {"HEAD"})] if methods else [("WS", route.path)]  # type: ignore[attr-defined]
    return found


def answer(here: Here, method: str, path: str, call: Call, headers: Mapping[str, str]) -> tuple[int, str]:
    """The status and what of the body comes before somebody hangs up, so that streams end."""
    said: list[dict[str, Any]] = []
    first = {"type": "http.request", "body": call.body, "more_body": False}
    asked: list[dict[str, Any]] = [{"type": "websocket.connect"} if method == "WS" else first]

    async def receive() -> dict[str, Any]:
        if asked:
            return asked.pop()
        while not any(one.get("body") for one in said):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # a stream says where it begins before it says anything
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(message)

    sent = {"host": "hub.example.org", "content-length": str(len(call.body)), **call.headers, **headers}
    scope = {
        "type": "websocket" if method == "WS" else "http", "extensions": {"websocket.http.response": {}},
        "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": re.sub(r"\{.*?\}", PROJECT, path), "raw_path": path.encode(), "root_path": "",
        "query_string": call.query.encode(), "client": (PLACE, 1), "server": ("hub.example.org", 80),
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
    }  # fmt: skip
    with asyncio.Runner() as runner:
        here.hub.live = Live()  # its bells belong to a loop
        runner.run(asyncio.wait_for(here.application(scope, receive, send), 20))
    if said[0]["type"] == "websocket.accept":
        return 101, ""
    status, told = said[0]["status"], dict(said[0]["headers"])
    if told.get(b"location", b"").endswith(b"/signin") or b"/signin?" in told.get(b"location", b""):
        status = 401  # a person is led to where one signs in
    return status, b"".join(one.get("body", b"") for one in said).decode(errors="replace")


def is_let_in(call: Call, person: str, way: str) -> bool:
    """What the table says."""
    if call.by == "anyone":
        return True
    if call.by in ("form", "pass"):
        return False
    if way != ("cookie" if call.by == "browser" else "token"):
        return False
    allowed = {"owner": ("owner", "elsewhere"), "writer": ("owner", "writer", "elsewhere"), "team": ROLES}
    return person in allowed.get(call.by, MEMBERS)


def test_every_call_there_is_stands_in_the_table(world: World) -> None:
    assert sorted(routes(world.here)) == sorted(CALLS)


@pytest.mark.parametrize("way", ["token", "cookie"])
@pytest.mark.parametrize(("method", "path"), CALLS, ids=lambda value: value)
def test_who_may(world: World, method: str, path: str, way: str) -> None:
    call = CALLS[method, path]
    wrong = []
    for person in PEOPLE:
        shown = (
            {"Authorization": f"Bearer {world.tokens[person]}"} if way == "token" else {"Cookie": world.cookies[person]}
        )
        world.here.hub.limits = type(world.here.hub.limits)()  # how often one may ask is tested elsewhere
        status, text = answer(world.here, method, path, call, shown if person != "nobody" else {})
        let_in = is_let_in(call, person, way)
        if let_in != (status not in (401, 403)) and not (call.by == "form" and 300 <= status < 500):
            wrong.append(f"{person}: {status}")
        if status >= 500 or (call.by == "form" and status < 300):
            wrong.append(f"{person}: {status}")
        if (SECRET in text) != (call.shows and let_in and person in ROLES):
            wrong.append(f"{person}: {'is told of' if SECRET in text else 'is not told of'} the mission")
    assert wrong == []


@pytest.mark.parametrize(
    ("shown", "status"),
    [("Bearer {}", 200), ("bearer  {} ", 200), ("Basic {}", 401), ("{}", 401), ("Bearer", 401), ("Bearer  ", 401)],
)
def test_a_token_is_shown_as_one_or_is_none(world: World, shown: str, status: int) -> None:
    headers = {"Authorization": shown.format(world.tokens["reader"])}
    assert answer(world.here, "GET", "/v1/me", CALLS["GET", "/v1/me"], headers)[0] == status


def test_a_role_holds_from_the_moment_it_is_given(tmp_path: Path) -> None:
    store = Store(tmp_path / "hub.db")
    here = Here(store, "http://hub.example.org")
    who = here.add("ada@example.org", "one", "reader")
    with store.writing() as database:
        pair = tokens.open_session(database, who.user_id, who.team_id, here.now, By("ada", "command"))
    shown = {"Authorization": f"Bearer {pair.access_token}"}
    before = answer(here, "POST", "/v1/events", CALLS["POST", "/v1/events"], shown)[0]
    here.add("ada@example.org", "one", "writer")
    after = answer(here, "POST", "/v1/events", CALLS["POST", "/v1/events"], shown)[0]
    store.close()
    assert (before, after) == (403, 200)
