"""The OpenAPI document of kitty's own protocol: what `GET /openapi.json` says, and what the tests hold every answer against.

It describes the calls of `oauth` and `v1`, and whether the hub is well. The pages, and what the released client asks for, are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kitty_host.report import ERROR_SCHEMA
from kitty_sync.hub import ingest, read
from kitty_sync.hub.accounts import ROLES
from kitty_sync.hub.answer import JsonAnswer

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub

Json = dict[str, Any]

_STATUSES = {
    400: "Something in the request is not what the call takes.",
    401: "There is no token, or it is over.",
    403: "The role of the token's owner, or its tenant, does not allow this.",
    408: "The body came too slowly.",
    413: "The body, or the batch in it, is too large.",
    429: "Asked too often; `Retry-After` says in how many seconds again.",
    503: "It may work in a moment; `Retry-After` says when.",
}
_ALWAYS = (429, 503)


def routes(hub: Hub) -> list[Route]:
    """The document, of one hub."""
    text = document(hub.address)

    async def answer(_: Request) -> Response:
        return JsonAnswer(text)

    return [Route("/openapi.json", answer)]


def document(address: str) -> Json:
    """The whole of it, for a hub at an address."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "kitty hub", "version": "1", "license": {"name": "MIT", "identifier": "MIT"}},
        "servers": [{"url": address}],
        "paths": _paths(),
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> Json:
    health = _call("Whether the hub is alive.", _json(_object(status=_text("ok"))))
    return {
        "/healthz": {"get": health},
        "/readyz": {"get": {**health, "summary": "Whether its database answers."}},
        "/oauth/device": {"post": _login("Two codes for a device.", _ref("Codes"), client_id=_text("cli_native"))},
        "/oauth/token": {
            "post": _login(
                "Tokens for a device code that was approved, or for a refresh token.",
                _ref("Tokens"),
                client_id=_text("cli_native"),
                grant_type=_text("urn:ietf:params:oauth:grant-type:device_code", "refresh_token"),
                device_code={"type": "string"},
                refresh_token={"type": "string"},
            )
        },
        "/oauth/revoke": {
            "post": _login(
                "The session of a token is over.",
                _object(revoked={"type": "boolean"}),
                token={"type": "string"},
                token_type_hint={"type": "string"},
            )
        },
        "/v1/me": {"get": _let_in("Who asks.", _json(_ref("Me")))},
        "/v1/events": {
            "get": _let_in("A page of events, in the order in which they were stored.", _json(_ref("Page")), 400)
            | {"parameters": [_AFTER, _PROJECT, _query("mission", "Its id or its slug."), _LIMIT]},
            "post": _let_in(
                "A batch of events; each is told of in its place.", _json(_ref("Results")), 400, 403, 408, 413
            )
            | {"requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Batch")}}}},
        },
        "/v1/events/stream": {
            "get": _let_in("Events as they come.", {"text/event-stream": {"schema": {"type": "string"}}}, 400)
            | {"parameters": [_AFTER, _PROJECT]},
        },
    }


def _call(summary: str, content: Mapping[str, Any], *statuses: int) -> Json:
    refusals = {
        str(status): {"description": _STATUSES[status], "content": _json(_ref("Error"))}
        for status in sorted({*statuses, *_ALWAYS})
    }
    return {"summary": summary, "responses": {"200": {"description": "Yes.", "content": content}, **refusals}}


def _let_in(summary: str, content: Mapping[str, Any], *statuses: int) -> Json:
    return _call(summary, content, 401, *statuses) | {"security": [{"token": []}]}


def _login(summary: str, answer: Json, **fields: Json) -> Json:
    """A call with a form; what it refuses after it was understood has the form of RFC 6749."""
    call = _call(summary, _json(answer), 400, 408, 413)
    call["responses"]["400"]["content"] = _json({"anyOf": [_ref("OAuthError"), _ref("Error")]})
    form = {"type": "object", "properties": fields, "required": [key for key in fields if key in _REQUIRED]}
    return call | {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": form}}}}


_REQUIRED = ("client_id", "grant_type")


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _text(*values: str) -> Json:
    return {"type": "string", "enum": list(values)} if values else {"type": "string"}


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _query(name: str, description: str, **schema: Any) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}


_NAMED = _object(id=_text(), slug=_text(), name=_text())
_MAYBE = {"type": ["string", "null"]}
_AFTER = _query("after", "A cursor; from the start without one. For a stream also `latest`: from now on.")
_PROJECT = _query("project", "A UUID.")
_LIMIT = _query("limit", "How many at most.", type="integer", minimum=1, maximum=read.MOST, default=read.USUAL)
_EVENT = {"type": "object", "description": "An Event of spec_kitty_events."}
_RECORD = {"mission_id": _text(), "mission_slug": _text(), "aggregate_type": _text(), "event": _EVENT}

_SCHEMAS = {
    "Error": _object(
        schema=_text(ERROR_SCHEMA), code=_text(), message=_text(), hint=_text(), details={"type": "object"}
    ),
    "OAuthError": _object(error=_text()),
    "Codes": _object(
        device_code=_text(),
        user_code=_text(),
        verification_uri=_text(),
        verification_uri_complete=_text(),
        expires_in={"type": "integer"},
        interval={"type": "integer"},
    ),
    "Tokens": _object(
        access_token=_text(),
        refresh_token=_text(),
        token_type=_text("Bearer"),
        session_id=_text(),
        expires_in={"type": "integer"},
        refresh_token_expires_in={"type": "integer"},
        scope=_text(),
    ),
    "Me": _object(user=_object(id=_text(), email=_text(), name=_text()), team=_NAMED, role=_text(*ROLES)),
    "Record": {"type": "object", "properties": _RECORD, "required": list(_RECORD)},
    "Batch": {
        "type": "object",
        "properties": {"events": {"type": "array", "items": _ref("Record"), "maxItems": ingest.MOST}},
        "required": ["events"],
    },
    "Results": _object(
        results={
            "type": "array",
            "items": _object(
                event_id=_MAYBE,
                status=_text(ingest.STORED, ingest.DUPLICATE, ingest.CONFLICT, ingest.REJECTED),
                code=_MAYBE,
                message=_MAYBE,
            ),
        },
        cursor=_text(),
    ),
    "Page": _object(
        events={"type": "array", "items": _object(**_RECORD, cursor=_text(), received_at=_text())},
        cursor=_text(),
        more={"type": "boolean"},
    ),
}
