"""A hub in this process, at a time that the test says, and browsers that look at it from addresses of their own."""

from __future__ import annotations

import asyncio
import html
import re
from typing import Any
from urllib.parse import urlencode

import httpx

from kitty_sync.hub import accounts, signin
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.app import Hub
from kitty_sync.hub.audit import By
from kitty_sync.hub.store import Store

PLACE = "192.0.2.7"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


class Here:
    """A hub in this process."""

    def __init__(self, store: Store, address: str = "http://127.0.0.1:1", **options: Any) -> None:
        self.store = store
        self.address = address
        self.now = 1_000_000.0
        self.hub = Hub(store, address, clock=lambda: self.now, **options)
        self.application = self.hub.application()

    def add(self, email: str, team: str = "one", role: str = "writer") -> Member:
        with self.store.writing() as database:
            return accounts.add(database, email, team, role)

    def link(self, who: Member) -> str:
        """The path of a new link."""
        with self.store.writing() as database:
            return "/signin/link?token=" + signin.make_link(database, who, self.now, By("ada", "command"))

    def send(self, method: str, path: str, place: str = PLACE, **more: Any) -> httpx.Response:
        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.application, client=(place, 1), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=self.address) as client:
                return await client.request(method, path, **more)

        return asyncio.run(sent())

    def ask(self, place: str = PLACE) -> dict[str, Any]:
        """A program asks for codes."""
        answer = self.send("POST", "/oauth/device", place, data={"client_id": "cli_native"})
        said: dict[str, Any] = answer.json()
        return said

    def poll(self, device_code: str) -> dict[str, Any]:
        fields = {"grant_type": DEVICE, "device_code": device_code, "client_id": "cli_native"}
        said: dict[str, Any] = self.send("POST", "/oauth/token", data=fields).json()
        return said

    def browser(self, place: str = PLACE) -> Browser:
        return Browser(self, place)

    def signed_in(self, who: Member, place: str = PLACE) -> Browser:
        """A browser that took a link."""
        browser = self.browser(place)
        browser.open(self.link(who))
        assert browser.press().status_code == 303
        return browser

    def audited(self, *names: str) -> list[tuple[Any, ...]]:
        """Some of every entry of the audit log."""
        from kitty_sync.hub import audit

        with self.store.reading() as database:
            return [tuple(one[name] for name in names) for one in audit.entries(database, None, 1000)]


class Browser:
    """Follows no redirect, sends its cookies and its origin, and presses the buttons of the page that it shows."""

    def __init__(self, hub: Here, place: str) -> None:
        self.hub = hub
        self.place = place
        self.cookies: dict[str, str] = {}
        self.set: list[str] = []
        self.page: httpx.Response = httpx.Response(204)

    def open(self, path: str) -> httpx.Response:
        return self._keep(self.hub.send("GET", path, self.place, headers=self._headers()))

    def post(self, path: str, origin: str | None = "", **fields: str) -> httpx.Response:
        headers = self._headers() | {"Content-Type": "application/x-www-form-urlencoded"}
        if origin is not None:
            headers["Origin"] = origin or self.hub.address
        return self._keep(self.hub.send("POST", path, self.place, headers=headers, content=urlencode(fields)))

    def press(self, button: str = "", form: int = 0, **fields: str) -> httpx.Response:
        """Send a form of the page as it is, with a button that has a name, and with what was written into it."""
        forms = re.findall(r'<form method="post" action="([^"]*)">(.*?)</form>', self.page.text, re.DOTALL)
        path, inside = forms[form]
        found = re.findall(r'<input[^>]* name="([^"]*)" value="([^"]*)"', inside)
        sent = {name: html.unescape(value) for name, value in found} | fields
        return self.post(path, **sent, **({"answer": button} if button else {}))

    def activate(self, code: str, answer: str = "approve") -> httpx.Response:
        """The confirm page from beginning to end, or to its first refusal."""
        self.open("/activate")
        if self.press(code=code).status_code != 200:
            return self.page
        return self.press(answer)

    def _headers(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def _keep(self, answer: httpx.Response) -> httpx.Response:
        self.set = answer.headers.get_list("set-cookie")
        for one in self.set:
            name, _, value = one.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            if "max-age=0" not in one.lower():
                self.cookies[name] = value.strip('"')
        self.page = answer
        return answer
