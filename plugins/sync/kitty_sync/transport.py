"""The only module that sends anything: requests to one issuer, authenticated, with a bounded wait and a bounded answer (ADR 0019).

It prints nothing and tries nothing twice but what a refused token stopped. Where tokens are is told in `auth.tokens`, how they are renewed
in `auth.refresh`; how often something is asked again is for whoever asks.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kitty_host import __version__
from kitty_host.api import KittyError
from kitty_host.inert import inert
from kitty_host.records import Answer
from kitty_sync.auth import refresh, tokens
from kitty_sync.auth.login import is_loopback, issuer_of
from kitty_sync.auth.refresh import AuthRefreshFailed as AuthRefreshFailed

if TYPE_CHECKING:
    import httpx

    from kitty_host.records import Transport

LARGEST = 16 * 1024 * 1024
"""Bytes of an answer, decoded."""
LONGEST_LINE = 4 * 1024 * 1024
_CONNECT, _READ, _WHOLE = 10.0, 30.0, 120.0
"""Seconds: until there is a connection, between two pieces of an answer, and for all of it."""
_SILENCE = 45.0
"""Seconds without a line of a stream; a hub sends a comment every 15."""
_INFLATED = 256 * 1024
_OURS = (
    *("authorization", "proxy-authorization", "cookie", "host", "connection", "user-agent"),
    *("accept-encoding", "content-length", "transfer-encoding"),
)
"""Headers that nobody else sets."""

_known: dict[str, Connection] = {}
_making = threading.Lock()


def transport_for(issuer: str) -> Transport:
    """The transport to an issuer, one for all threads of this process. Errors: `SERVER_ADDRESS_INVALID`. Nothing is sent yet."""
    issuer = issuer_of(issuer)
    with _making:
        return _known.setdefault(issuer, Connection(issuer))


def open_form(issuer: str, path: str, fields: Mapping[str, str]) -> Answer:
    """Post a form without a token, as logins and refreshes do. Errors: `SERVER_UNREACHABLE`."""
    from urllib.parse import urlencode

    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    return _connection(issuer).send("POST", path, urlencode(fields).encode(), headers, None)


def ask_as(issuer: str, token: str, path: str) -> Answer:
    """Get something with a token that is not stored yet. Errors: `SERVER_UNREACHABLE`."""
    return _connection(issuer).send("GET", path, b"", {}, token)


def async_client(issuer: str, transport: Transport) -> httpx.AsyncClient:
    """A client for connectors that are written with `async`: its requests are made by `transport`, one after the other.

    No event loop is needed: nothing in it waits for one. Whatever leads to another place than the issuer is refused before it is sent
    (`SERVER_ADDRESS_INVALID`), and what a connector says of authentication is dropped.
    """
    import httpx

    issuer = issuer_of(issuer)

    class Through(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            _require_origin(request.url, issuer)
            body = await request.aread()
            path = request.url.raw_path.decode("ascii")
            answer = transport.request(request.method, path, body=body, headers=dict(request.headers))
            return httpx.Response(answer.status, headers=_decoded(answer.headers), content=answer.body, request=request)

    return httpx.AsyncClient(transport=Through(), trust_env=False, follow_redirects=False)


class Connection:
    """Implements `kitty_host.records.Transport`."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._token = ""

    def request(self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request. Errors: as `Transport`."""
        for token in self._tokens():
            answer = self.send(method, path, body, headers or {}, token)
            if answer.status != 401:
                return answer
        raise self._refused()

    @contextlib.contextmanager
    def stream(self, path: str, *, headers: Mapping[str, str] | None = None) -> Iterator[Iterator[str]]:
        """The lines of an answer that goes on. Errors: as `Transport`."""
        for token in self._tokens():
            with self._sent("GET", path, b"", {**(headers or {})}, token, silence=_SILENCE) as response:
                if response.status_code == 200:
                    yield self._lines(response)
                    return
                if response.status_code != 401:
                    raise self._unwilling(self._whole(response))
        raise self._refused()

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str], token: str | None) -> Answer:
        """One request and its whole answer, whatever it is, with exactly this token. Errors: `SERVER_UNREACHABLE`."""
        with self._sent(method, path, body, headers, token) as response:
            return self._whole(response)

    def _tokens(self) -> Iterator[str]:
        """The token, and after it was refused others: such as somebody else got, and one that is asked for, which is the last."""
        token, asked = self._token or self._read(), False
        since = time.time()
        yield token
        for _ in range(3):
            if self._token in ("", token):  # else another thread has got one
                self._token = ""
                renewed = refresh.refresh(self.issuer, token, self._ask, since)
                self._token, asked = renewed.kept.tokens.access, renewed.asked
            token = self._token or token
            yield token
            if asked:
                return

    def _read(self) -> str:
        kept = tokens.read(self.issuer)
        if kept is None:
            raise refresh.absent(self.issuer)
        self._token = kept.tokens.access
        return self._token

    def _ask(self, path: str, fields: Mapping[str, str]) -> Answer:
        return open_form(self.issuer, path, fields)

    def _refused(self) -> KittyError:
        self._token = ""
        return AuthRefreshFailed(self.issuer, "the server refuses the token that it has just given")

    @contextlib.contextmanager
    def _sent(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        token: str | None,
        silence: float | None = None,
    ) -> Iterator[httpx.Response]:
        import httpx

        request = httpx.Request(
            method,
            self._url(path),
            headers={
                **{name: value for name, value in headers.items() if name.lower() not in _OURS},
                "user-agent": f"kitty/{__version__}",
                "accept-encoding": "identity" if silence else "gzip",
                **({"authorization": f"Bearer {token}"} if token else {}),
            },
            content=body,
            extensions={"timeout": httpx.Timeout(_READ, connect=_CONNECT, read=silence or _READ).as_dict()},
        )
        try:
            response = self._made().send(request, stream=True)
            try:
                yield response
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise self._unreachable(_reason(error)) from None  # what some of them say quotes a header

    def _url(self, path: str) -> httpx.URL:
        import httpx

        if not path.startswith("/"):
            raise ValueError(f"{path!r} begins with no slash")
        url = httpx.URL(self.issuer + path)
        _require_origin(url, self.issuer)
        return url

    def _made(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = _client(self.issuer)
            return self._client

    def _whole(self, response: httpx.Response) -> Answer:
        """The answer, inflated piece by piece and never further than allowed."""
        coding = response.headers.get("content-encoding", "").strip().lower()
        if coding not in ("", "identity", "gzip"):
            raise self._unreachable(f"its answer is encoded as {inert(coding)}")
        pieces = response.iter_raw()
        found, until = bytearray(), time.monotonic() + _WHOLE
        try:
            for piece in _inflated(pieces) if coding == "gzip" else pieces:
                found += piece
                if len(found) > LARGEST:
                    raise self._unreachable("its answer is too large")
                if time.monotonic() > until:
                    raise self._unreachable("its answer takes too long")
        except zlib.error:
            raise self._unreachable("its answer is damaged") from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, bytes(found))

    def _lines(self, response: httpx.Response) -> Iterator[str]:
        rest = b""
        for piece in response.iter_raw():
            *lines, rest = [*(rest + piece).splitlines(keepends=True), b""]
            if lines and not lines[-1].endswith(b"\n"):  # the half of CR LF may still come
                rest = lines.pop()
            if len(rest) > LONGEST_LINE:
                raise self._unreachable("a line of its answer is too long")
            yield from (line.rstrip(b"\r\n").decode(errors="replace") for line in lines)
        if rest:
            yield rest.rstrip(b"\r\n").decode(errors="replace")

    def _unreachable(self, reason: str) -> KittyError:
        return KittyError(
            "SERVER_UNREACHABLE",
            f"no answer from {self.issuer}: {reason}",
            "look whether the server and the network are up, and run it again",
            issuer=self.issuer,
        )

    def _unwilling(self, answer: Answer) -> KittyError:
        import json

        said: dict[str, Any] = {}
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            said = dict(json.loads(answer.body))
        told = inert(str(said.get("message", "")), prose=True)
        return KittyError(
            "SERVER_REFUSED",
            f"{self.issuer} answered {answer.status}{f': {told}' if told else ''}",
            "look whether your role allows it: kitty auth status",
            issuer=self.issuer,
            status=answer.status,
            said=inert(str(said.get("code", ""))),
            retry_after=answer.headers.get("retry-after", ""),
        )


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What compressed pieces stand for, a little at a time. Raises `zlib.error`, also where the end is missing."""
    inflate = zlib.decompressobj(wbits=31)
    begun = False
    for piece in pieces:
        begun = True
        while piece and not inflate.eof:
            yield inflate.decompress(piece, _INFLATED)
            piece = inflate.unconsumed_tail
    if begun and not inflate.eof:
        yield inflate.flush()
        if not inflate.eof:
            raise zlib.error


def _connection(issuer: str) -> Connection:
    found = transport_for(issuer)
    assert isinstance(found, Connection)
    return found


def _client(issuer: str) -> httpx.Client:
    """A client that takes nothing from anywhere: no configuration, no `.netrc`, no cookies that it would send."""
    import ssl

    import httpx
    import truststore

    trust = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    address = _proxy(issuer)
    proxy = None
    if address:
        proxy = httpx.Proxy(address, ssl_context=trust if address.startswith("https:") else None)
    return httpx.Client(verify=trust, proxy=proxy, trust_env=False, follow_redirects=False)


def _proxy(issuer: str) -> str:
    """The proxy of the environment for an issuer; none for loopback, whatever the environment says."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies_environment

    parts, named = urlsplit(issuer), getproxies_environment()
    host, address = parts.hostname or "", named.get(parts.scheme) or named.get("all") or ""
    direct = [name.strip().lstrip("*.").lower() for name in named.get("no", "").split(",") if name.strip()]
    if not address or is_loopback(host) or any(f".{host}".endswith(f".{name}") or not name for name in direct):
        return ""
    address = address if "://" in address else f"http://{address}"
    if urlsplit(address).scheme not in ("http", "https"):
        raise KittyError(
            "SERVER_UNREACHABLE",
            f"no way to {issuer}: the proxy of the environment is neither http nor https",
            "set HTTPS_PROXY to another one, or NO_PROXY to the server",
            issuer=issuer,
        )
    return address


def _require_origin(url: httpx.URL, issuer: str) -> None:
    origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
    if url.userinfo or origin != issuer:
        raise KittyError(
            "SERVER_ADDRESS_INVALID",
            f"{inert(origin)} is not {issuer}, and gets nothing that is meant for it",
            f"run: kitty auth login {issuer}",
            issuer=issuer,
        )


def _decoded(headers: Mapping[str, str]) -> dict[str, str]:
    gone = ("content-encoding", "content-length", "transfer-encoding", "set-cookie")
    return {name: value for name, value in headers.items() if name not in gone}


def _reason(error: httpx.HTTPError) -> str:
    """In a few words of our own: what the libraries say may quote what was sent."""
    import httpx

    if isinstance(error, httpx.ConnectError):
        return inert(re.sub(r"\[[^]]*\] *", "", str(error)), prose=True, limit=120) or "no connection"
    kinds = {
        httpx.ConnectTimeout: "no connection in time",
        httpx.TimeoutException: "it took too long",
        httpx.ProxyError: "the proxy refused",
        httpx.NetworkError: "the connection broke",
        httpx.RemoteProtocolError: "the connection broke",
    }
    return next((text for kind, text in kinds.items() if isinstance(error, kind)), type(error).__name__)
