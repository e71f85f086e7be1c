"""What comes in a request, read so that nobody can make the hub work, or remember, much more than was sent.

Errors: `BODY_INVALID` (400), `BODY_TOO_LARGE` (413), `TOKEN_REJECTED` (401).
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import AsyncIterator
from itertools import accumulate
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection, Request

from kitty_sync.hub.error import HubError, no_token

LARGEST = 1024 * 1024
"""Bytes of a body, inflated."""
LARGEST_FORM = 8 * 1024
DEEPEST = 32
"""How many objects and lists may be in one another."""
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or what is left where one does not end. It never goes back: a body of quotes must not take longer than another."""
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKET = bytes(one for one in range(256) if one not in _STEP)


def bearer(request: HTTPConnection) -> str:
    """The token in the headers."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise no_token("there is no token")
    return token.strip()


async def sent(request: Request, largest: int = LARGEST) -> bytes:
    """The body as it was sent, compressed or not."""
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > largest:
        raise _too_large(largest)
    return await _collected(request.stream(), largest)


async def _collected(pieces: AsyncIterator[bytes], largest: int) -> bytes:
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > largest:
            raise _too_large(largest)
    return bytes(body)


def inflated(body: bytes, encoding: str, largest: int = LARGEST) -> bytes:
    """The body as it was meant. A bomb is noticed at the first byte that is too many."""
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise _invalid(f"Content-Encoding is {encoding[:40]!r}, and only gzip is understood")
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = stream.decompress(body, largest + 1)
    except zlib.error:
        raise _invalid("the body is no gzip") from None
    if len(content) > largest:
        raise _too_large(largest)
    if not stream.eof or stream.unused_data:
        raise _invalid("the body is not one whole gzip")
    return content


def parsed(body: bytes) -> dict[str, Any]:
    """The one object of a body. A key that stands twice, a number that is none and a depth beyond all reason are refused."""
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKET)
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > DEEPEST:
        raise _invalid(f"the body is more than {DEEPEST} levels deep")
    try:
        found = json.loads(
            body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_number
        )
    except (ValueError, RecursionError) as error:
        raise _invalid(f"the body is no JSON that is taken: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise _invalid("the body is no JSON object")
    return found


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, each once."""
    body = await sent(request, LARGEST_FORM)
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=20)
    except ValueError:
        raise _invalid("the body is no form") from None
    if len(dict(fields)) < len(fields):
        raise _invalid("a field stands twice in the form")
    return dict(fields)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _invalid(message: str) -> HubError:
    return HubError("BODY_INVALID", 400, message, "see the table of calls in docs/hub.md of kitty")


def _too_large(largest: int) -> HubError:
    return HubError("BODY_TOO_LARGE", 413, f"a body has {largest} bytes at most, inflated", "send less at once")
