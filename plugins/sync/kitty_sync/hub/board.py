"""The team board: what is on it is `missions`' business, how it looks that of the plugin which answers `kitty_board_page`.

`/board/` is the team's and `/board/<uuid>/` a project's, so that the page's own links, all relative, stay where one is. Beside each are
`events`, which tells that something changed, `who` and `history`. No page loads anything but from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from kitty_host.api import KittyError
from kitty_host.frozen import Page
from kitty_host.inert import inert, visible
from kitty_host.plugins import PluginFault, missing
from kitty_sync.hub import frame, ingest, missions, signin
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.frame import lead
from kitty_sync.hub.missions import CHANGED, Missions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from kitty_sync.hub.app import Hub

_log = logging.getLogger(__name__)
HOOK = "kitty_board_page"
PAUSE = 0.5
"""Seconds from one word of changes to the next: the page is fetched again each time."""
_TEAMS = 32
"""Teams whose missions are kept; another one is read anew."""
_MOST = 100
"""Missions on a page."""
_HISTORY = 200
"""Events on a page."""
_PAGES = 50
"""Pages that are kept until something changes, for everybody who looks at the same."""
_MOST_LINKS = 20
_SIGN_IN = "/signin"
_ACTORS = ("actor", "agent_id", "agent", "author", "author_id", "participant_id", "implementing_actor")

Handler = Callable[[Request, Member], Awaitable[Response]]


def routes(hub: Hub) -> list[Route]:
    """These calls, of one hub. Where nothing draws a board there is the front page only, which says so."""
    teams = _Teams()
    drawn = is_drawn(hub)

    async def front(request: Request) -> Response:
        """The board, or where one signs in."""
        if not drawn:
            return frame.page("board_none.html", what=absent().message, hint=absent().hint)
        return lead("board/") if await signin.viewer(hub, request) else lead(_SIGN_IN)

    async def board(request: Request, who: Member) -> Response:
        """The page of the plugin."""
        query = request.query_params
        project = _project(request)
        if not project and query.get("project"):
            rest = urlencode([(key, value) for key, value in query.multi_items() if key != "project"])
            return lead(f"{quote(query['project'], safe='')}/{'?' if rest else ''}{rest}")
        asked = (project, query.get("mission", ""), "all" in query)
        async with _up_to_date(hub, teams, who) as known:
            if asked not in known.pages:
                if len(known.pages) >= _PAGES:
                    known.pages.clear()
                drawn = await run_in_threadpool(_drawn, hub, known, *asked)
                if not isinstance(drawn, Page):
                    return _said(*drawn)
                known.pages[asked] = drawn
            return _answer(known.pages[asked])

    async def events(request: Request, who: Member) -> Response:
        """Tells that something changed."""
        hub.may_listen(who)
        after = await hub.read(ingest.last_position, who.team_id)
        return StreamingResponse(
            hub.listen(who, _changes(hub, request, who, after)),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    async def who_does_what(request: Request, who: Member) -> Response:
        """Everybody who has something in hand."""
        async with _up_to_date(hub, teams, who) as known:
            return await run_in_threadpool(_who, known, _project(request))

    async def history(request: Request, who: Member) -> Response:
        """What happened last, to the team, a project or a mission."""
        query = request.query_params
        async with _up_to_date(hub, teams, who) as known:
            found: Response = await hub.read(_history, known, _project(request), query.get("mission", ""))
            return found

    routes = [Route("/", front)]
    if drawn:
        places = (("", board), ("events", events), ("who", who_does_what), ("history", history))
        for start in ("/board/", "/board/{project:uuid}/"):
            routes += [Route(f"{start}{name}", _signed_in(hub, call)) for name, call in places]
        routes += [Route("/board", _with_slash), Route("/board/{project:uuid}", _with_slash)]
    return routes


def is_drawn(hub: Hub) -> bool:
    """Whether something that is installed draws a board."""
    return hub.plugins is not None and hub.plugins.implements(HOOK)


def absent() -> KittyError:
    """What is said where nothing draws a board."""
    return missing("nothing installed draws a board, so this hub serves its interfaces only")


def _signed_in(hub: Hub, call: Handler) -> Callable[[Request], Awaitable[Response]]:
    """A call for members of any role. A browser that goes there is shown where one signs in; whatever else asks is told."""

    async def answer(request: Request) -> Response:
        who = await signin.viewer(hub, request)
        if who is not None:
            return await call(request, who)
        if request.headers.get("sec-fetch-mode") == "navigate":
            return lead(f"{_SIGN_IN}?next={quote(request.url.path, safe='')}")
        return _said("you are signed out: sign in again", 401)

    answer.__name__, answer.__doc__ = call.__name__, call.__doc__
    return answer


async def _with_slash(request: Request) -> Response:
    """Relative links want it."""
    query = f"?{request.url.query}" if request.url.query else ""
    return lead(f"{request.url.path}/{query}")


class _Teams:
    """The missions of the teams at which somebody looked last, each for one request at a time. It belongs to the event loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Missions, asyncio.Lock]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def of(self, team_id: str) -> AsyncIterator[Missions]:
        """Those of a team. What somebody failed with is forgotten, and read anew."""
        known, turn = self._known.setdefault(team_id, (Missions(team_id), asyncio.Lock()))
        self._known.move_to_end(team_id)
        while len(self._known) > _TEAMS:
            self._known.popitem(last=False)
        async with turn:
            try:
                yield known
            except BaseException:
                self._known.pop(team_id, None)
                raise


@contextlib.asynccontextmanager
async def _up_to_date(hub: Hub, teams: _Teams, who: Member) -> AsyncIterator[Missions]:
    async with teams.of(who.team_id) as known:
        await hub.read(lambda database: known.catch_up(database))
        yield known


async def _changes(hub: Hub, request: Request, who: Member, after: int) -> AsyncIterator[str]:
    """Server-sent events as `kitty board` sends them, until the hub ends, or whoever listens may look no longer."""
    yield "retry: 1000\n\n"
    async for rung in hub.live.due(who.team_id):
        now = await signin.viewer(hub, request, renew=False)  # a page that nobody looks at is no use of the session
        if now is None or now.team_id != who.team_id:
            return
        last = await hub.read(ingest.last_position, who.team_id)
        if last > after:
            after = last
            yield f"event: changed\ndata: {after}\n\n"
            await asyncio.sleep(PAUSE)
        elif not rung:
            yield ": still here\n\n"


# The page


def _drawn(hub: Hub, known: Missions, project: str, mission: str, closed: bool) -> Page | tuple[str, int]:
    """The page, or why there is none."""
    assert hub.plugins is not None
    if project and project not in known.projects:
        return "there is no such project here", 404
    found = known.states(project=project, mission=mission, closed=closed)
    if mission and not found:
        return f"there is no mission {inert(mission)} here; see ?all", 404
    shown = tuple(sorted(found[:_MOST], key=lambda state: state.mission.slug))
    try:
        page: Page = hub.plugins.required(HOOK, states=shown, links=_links(known, project, mission, len(found)))
    except Exception as error:  # noqa: BLE001 - a page that cannot be drawn ends nothing, and says so
        _log.error(
            "the board cannot be drawn: %s", error if isinstance(error, KittyError | PluginFault) else repr(error)
        )
        return "the board cannot be drawn; the log of the hub says why", 500
    return page


def _links(known: Missions, project: str, mission: str, found: int) -> tuple[tuple[str, str], ...]:
    """Where one can go from a page. Of many projects those are named that come first by name."""
    query = f"?{urlencode({'mission': mission})}" if mission else ""
    links = [("Who is on what", "who"), ("History", f"history{query}")]
    names = sorted((name, one) for one, name in known.projects.items())
    if project:
        links.append(("All projects", "../"))
    elif len(names) > 1:
        links += [(name, f"{one}/") for name, one in names[:_MOST_LINKS]]
    if found > _MOST:
        links.append((f"{found - _MOST} missions that rest are not shown", "?all"))
    return tuple(links)


def _who(known: Missions, project: str) -> Response:
    rows = [
        {
            "who": inert(one.who, prose=True),
            "does": one.does,
            "wp_id": inert(one.wp_id),
            "title": inert(one.title, prose=True),
            "mission": one.mission,
            "since": inert(one.since, prose=True),
        }
        for one in missions.hands(known.states(project=project))
    ]
    return frame.page("board_who.html", rows=rows)


def _history(database: Connection, known: Missions, project: str, mission: str) -> Response:
    seqs = known.last(project, mission, _HISTORY)
    if not seqs and (project or mission):
        return _said("there is nothing of that kind here", 404)
    rows = [
        _happened(json.loads(record), received_at)
        for _, record, received_at in missions.records(database, known.team_id, seqs)
    ]
    return frame.page("board_history.html", rows=rows[::-1], mission=inert(mission))


def _happened(record: Mapping[str, Any], received_at: str) -> dict[str, str]:
    """One event as a line: when, who, what, in which words."""
    event = record["event"]
    payload = event.get("payload") or {}
    wp_id = inert(str(payload.get("wp_id") or ""))
    if event["event_type"] == CHANGED:
        source, target = (str(payload.get(key) or "new").replace("_", " ") for key in ("from_lane", "to_lane"))
        what = f"{wp_id} {source} → {target}{', by force' if payload.get('force') is True else ''}"
    else:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|[._]", " ", event["event_type"].removeprefix("WP")).lower()
        what = f"{wp_id} {words}".strip()
    said = payload.get("reason") or payload.get("wp_title") or payload.get("friendly_name") or ""
    actor = next((payload[key] for key in _ACTORS if isinstance(payload.get(key), str | dict)), "")
    return {
        "at": inert(str(event["timestamp"]), prose=True),
        "stored": received_at,
        "mission": inert(record["mission_slug"] or record["mission_id"]),
        "what": what,
        "who": inert(missions.name_of(actor), prose=True),
        "said": inert(str(said), prose=True),
    }


# What is answered


def _answer(drawn: Page) -> Response:
    return HTMLResponse(drawn.html, headers={"Content-Security-Policy": drawn.policy})


def _said(text: str, status: int) -> Response:
    return PlainTextResponse(visible(text, lines=False) + "\n", status)


def _project(request: Request) -> str:
    return str(request.path_params.get("project", ""))
