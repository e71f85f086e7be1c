"""What a browser is shown: signing in, letting a program or another browser in, and one's own sessions.

Pages have no script and ask for nothing. Whatever changes something is a form that is sent from a page of this hub, which its origin shows,
and that holds the secret of the session where there is one. A code that is wrong, over or decided gets one answer, and few tries.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kitty_host.api import KittyError
from kitty_sync.hub import audit, board, bodies, device, frame, signin, tokens
from kitty_sync.hub.audit import by_request
from kitty_sync.hub.error import HubError
from kitty_sync.hub.frame import lead

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from kitty_sync.hub.app import Hub

AFTER = "/account"
"""Where somebody who signed in is led, unless another page sent them."""
_INSIDE = re.compile(r"/(?:[A-Za-z0-9_.~-][A-Za-z0-9/_.~-]*)?(?:\?[A-Za-z0-9=&_.~-]*)?")
_WAITS = "kitty-waits"
"""The cookie of a browser that shows a code: the code of RFC 8628 that it asks with, and the one that it shows."""
_Answer = Callable[[Request], Awaitable[Response]]


def routes(hub: Hub) -> list[Route]:
    """These pages, of one hub."""
    rooms = _Pages(hub)
    return [
        Route("/signin", rooms.page(rooms.sign_in)),
        Route("/signin", rooms.form(rooms.ask), methods=["POST"]),
        Route("/signin/code", rooms.page(rooms.wait)),
        Route("/signin/link", rooms.page(rooms.look_at_link)),
        Route("/signin/link", rooms.form(rooms.take_link), methods=["POST"]),
        Route("/activate", rooms.page(rooms.activate)),
        Route("/activate", rooms.form(rooms.decide), methods=["POST"]),
        Route("/account", rooms.page(rooms.account)),
        Route("/account/end", rooms.form(rooms.end), methods=["POST"]),
        Route("/signout", rooms.form(rooms.sign_out), methods=["POST"]),
    ]


class _Pages:
    """The pages of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def page(self, show: _Answer) -> _Answer:
        """A page: its refusals are pages, too."""

        async def shown(request: Request) -> Response:
            try:
                self._hub.limits.login(request)
                return await show(request)
            except HubError as error:
                self._hub.metrics.refused(error.code)
                answer = frame.page("refused.html", error.status, message=error.message, hint=error.hint)
                answer.headers.update(error.headers)
                return answer

        return shown

    def form(self, take: _Answer) -> _Answer:
        """What a form is sent to. Errors: `FORM_REFUSED` (403), for one that another page sent."""

        async def taken(request: Request) -> Response:
            if request.headers.get("origin") != self._hub.address:
                raise HubError(
                    "FORM_REFUSED", 403, "the form is of another address", f"open {self._hub.address} and try there"
                )
            return await take(request)

        return self.page(taken)

    # Signing in

    async def sign_in(self, request: Request) -> Response:
        """How to."""
        where = _inside(request.query_params.get("next", ""))
        if await signin.viewer(self._hub, request) is not None:
            return lead(where)
        return frame.page("signin.html", where=where)

    async def ask(self, request: Request) -> Response:
        """A browser asks for a code that somebody else can approve."""
        said = await bodies.form(request)
        begin = partial(device.begin, kind=device.BROWSER, address=by_request(request).where)
        grant: device.Grant = await self._hub.write(begin)
        answer = lead(f"/signin/code?next={quote(_inside(said.get('next', '')), safe='')}")
        self._set(
            answer,
            signin.cookie_name(self._hub.address, _WAITS),
            f"{grant.device_code}/{grant.user_code}",
            device.SECONDS,
        )
        return answer

    async def wait(self, request: Request) -> Response:
        """The code, until it was decided."""
        where = _inside(request.query_params.get("next", ""))
        code, _, shown = request.cookies.get(signin.cookie_name(self._hub.address, _WAITS), "").partition("/")
        take = partial(signin.take_code, by=by_request(request))
        cookie, error = await self._hub.write(_timed(take), code)
        if error in ("authorization_pending", "slow_down"):
            return frame.page("waits.html", code=shown, address=self._hub.address)
        if error:
            raise _over("the code was denied" if error == "access_denied" else "the code is over")
        return self._signed_in(cookie, where)

    async def look_at_link(self, request: Request) -> Response:
        """Whom a link would sign in. Looking at it does not use it up: programs look at links that are sent."""
        self._hub.limits.may_try(request)
        said = request.query_params.get("token", "")
        who = await self._hub.read(signin.linked, said, self._hub.clock())
        if who is None:
            self._hub.limits.failed(request)
            await self._hub.write(audit.refused, by_request(request), "link.refused", None)
            raise _over("the link is over, or was used")
        return frame.page("link.html", token=said, who=who)

    async def take_link(self, request: Request) -> Response:
        """Sign in with a link."""
        self._hub.limits.may_try(request)
        said = (await bodies.form(request)).get("token", "")
        cookie = await self._hub.write(signin.take_link, said, by_request(request))
        if cookie is None:
            self._hub.limits.failed(request)
            raise _over("the link is over, or was used")
        return self._signed_in(cookie, AFTER)

    # Letting in

    async def activate(self, request: Request) -> Response:
        """Ask for a code."""
        code = request.query_params.get("user_code", "")[:20]
        visit = await signin.visit(self._hub, request)
        if visit is None:
            here = f"/activate?user_code={code}" if code else "/activate"
            return lead(f"/signin?next={quote(here, safe='')}")
        return frame.page("activate.html", visit=visit, code=code)

    async def decide(self, request: Request) -> Response:
        """Show what waits with a code, or let it in, or not."""
        visit, said = await self._own_form(request)
        who, code = visit.member, said.get("code", "")
        self._hub.limits.may_try(request, who.user_id)
        by = by_request(request, who.email)
        try:
            if said.get("answer") in ("approve", "deny"):
                approve = said["answer"] == "approve"
                await self._hub.write(partial(device.decide, approve=approve, by=by), code, who)
                return frame.page("decided.html", visit=visit, approved=approve)
            asks: device.Asking | None = await self._hub.read(device.asking, code, self._hub.clock())
            if asks is not None:
                return frame.page("asks.html", visit=visit, code=code, asks=asks, at=_time(asks.created_at))
        except KittyError as error:
            if error.code != "USER_CODE_UNKNOWN":
                raise
        self._hub.limits.failed(request, who.user_id)
        await self._hub.write(audit.refused, by, "code.refused", who.team_id)
        raise HubError(
            "USER_CODE_UNKNOWN", 400, "nothing waits with this code", "take the code that is shown there now"
        )

    # One's own sessions

    async def account(self, request: Request) -> Response:
        """One's sessions in this team."""
        visit = await signin.visit(self._hub, request)
        if visit is None:
            return lead("/signin")
        found = await self._hub.read(_sessions, visit.member, self._hub.clock())
        told = [{**one, "created": _time(one["created_at"]), "used": _time(one["used_at"])} for one in found]
        return frame.page("account.html", visit=visit, sessions=told, board=board.is_drawn(self._hub))

    async def end(self, request: Request) -> Response:
        """End one of them."""
        visit, said = await self._own_form(request)
        by = by_request(request, visit.member.email)
        await self._hub.write(signin.end_own, visit.member, said.get("session", ""), by)
        return lead(AFTER)

    async def sign_out(self, request: Request) -> Response:
        """End this one."""
        visit, _ = await self._own_form(request)
        by = by_request(request, visit.member.email)
        await self._hub.write(_timed(partial(signin.end, by=by)), visit.id)
        answer = lead("/signin")
        self._set(answer, signin.cookie_name(self._hub.address), "", 0)
        return answer

    async def _own_form(self, request: Request) -> tuple[signin.Visit, dict[str, str]]:
        """The session, and what its form says. Errors: `FORM_REFUSED` (403)."""
        visit, said = await signin.visit(self._hub, request), await bodies.form(request)
        sent = said.get("form_secret", "").encode(errors="surrogatepass")
        if visit is None or not hmac.compare_digest(sent, visit.form_secret.encode()):
            raise HubError("FORM_REFUSED", 403, "the form is of no session, or of one that is over", "sign in again")
        return visit, said

    def _signed_in(self, cookie: str, where: str) -> Response:
        answer = lead(where)
        self._set(answer, signin.cookie_name(self._hub.address), cookie, signin.LONGEST_SECONDS)
        self._set(answer, signin.cookie_name(self._hub.address, _WAITS), "", 0)
        return answer

    def _set(self, answer: Response, name: str, value: str, seconds: int) -> None:
        secure = self._hub.address.startswith("https://")
        answer.set_cookie(name, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="strict")


def _timed(change: Callable[..., Any]) -> Callable[..., Any]:
    """The same with the time by its name, after the database and one value."""

    def changed(database: Connection, value: str, now: float) -> Any:
        return change(database, value, now=now)

    return changed


def _sessions(database: Connection, who: Any, now: float) -> list[dict[str, Any]]:
    both = [one for found in (signin.alive, tokens.alive) for one in found(database, who.team_id, now, who.user_id)]
    return sorted(both, key=lambda one: str(one["created_at"]))


def _inside(where: str) -> str:
    """A page of this hub that was named, or the usual one."""
    return where if _INSIDE.fullmatch(where) else AFTER


def _over(message: str) -> HubError:
    return HubError("SIGNIN_OVER", 400, message, "begin again at /signin, or ask for another link")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
