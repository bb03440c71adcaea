"""The management API as OpenAPI has it, made of the routes themselves.

Promises that a route which is served is described, with its shapes, an example and every error.
Knows nothing of the deeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from waypost.pages.manage.document.examples import EXAMPLES
from waypost.pages.manage.route import ROOT, Route
from waypost.pages.manage.shapes import schema_hook
from waypost.web import JSON

ALWAYS = (400, 401, 403, 404, 503)
WITH_BODY = (408, 413, 415)
ERRORS = MappingProxyType(
    {
        400: ("INVALID_REQUEST", "Something in the call is wrong: see `field`"),
        401: ("UNAUTHORIZED", "No token, or one that is not known; a key is none"),
        402: ("INSUFFICIENT_CREDITS", "The account has not enough credits"),
        403: (
            "FORBIDDEN",
            "The operator's to do, not a token's of one account; KEY_DISABLED: its account is",
        ),
        404: ("NOT_FOUND", "There is nothing of that name, or it is another account's"),
        408: ("INVALID_REQUEST", "The body came too slowly"),
        409: (
            "WRONG_STATE",
            "The name is taken, or the thing is not in a state for it; IDEMPOTENCY_CONFLICT: the"
            " Idempotency-Key was used for another change",
        ),
        413: ("TOO_LARGE", "The body is too large"),
        415: ("INVALID_REQUEST", "The body is not application/json"),
        422: ("TEST_FAILED", "The connection test failed, nothing was saved: see `field`"),
        429: ("RATE_LIMITED", "Too many connection tests in a minute: see Retry-After"),
        503: ("UNAVAILABLE", "It cannot be done now: see Retry-After"),
    }
)
PARAMETERS = MappingProxyType(
    {
        "account": "Whose: an account's name. Without: the operator's, in lists all; a token of"
        " one account needs none",
        "on": "The upstream that the sender is bound to, where there are several",
        "fail": "true: fail and refund what waits for it",
        "address": "An email address",
        "domain": "A domain, such as example.com",
        "selector": "Of DKIM; several with commas",
        "blocklists": "true: ask the usual block lists too",
        "cursor": "`nextCursor` of the page before",
        "limit": "1 to 1000; 100",
        "status": "queued, sent, partial, failed or cancelled",
        "from": "The sender's address",
        "to": "A recipient's address",
        "after": "Accepted from then on: ISO 8601",
        "before": "Accepted before then: ISO 8601",
        "Idempotency-Key": "With the same one and body nothing is added again, for 24 hours",
        "key": "The number of a key",
        "token": "The number of a token",
        "email": "The address that a member logs in with",
        "upstream": "The name of an upstream, of that owner",
        "id": "The id of a message",
    }
)
FORMATS = MappingProxyType(
    {**dict.fromkeys(("address", "email", "from", "to"), "email"), "domain": "hostname"}
)
_AN_ACCOUNT = "The name of an account"


def shapes(routes: Sequence[Route], ref: str) -> dict[str, Any]:
    """Every shape taken or given, by name, with an example."""
    kinds = {route.gives for route in routes} | {route.takes for route in routes} - {None}
    known = sorted((kind for kind in kinds if kind is not None), key=lambda kind: kind.__name__)
    _, found = msgspec.json.schema_components(known, schema_hook=schema_hook, ref_template=ref)
    for name, example in EXAMPLES.items():
        found[name]["examples"] = [example]
    return found


def responses() -> dict[str, Any]:
    """The errors, by the name that the paths refer to them by."""
    made = {}
    for status, (code, text) in ERRORS.items():
        example = {"ok": False, "error": text, "code": code}
        schema = {"$ref": "#/components/schemas/Error"}
        content = {JSON: {"schema": schema, "example": example}}
        made[f"manage{status}"] = {"description": text, "content": content}
    return made


def paths(routes: Sequence[Route], ref: str) -> dict[str, Any]:
    """Every path with its methods."""
    made: dict[str, Any] = {}
    for route in routes:
        made.setdefault(ROOT + route.path, {})[route.method.lower()] = _call(route, ref)
    return made


def _call(route: Route, ref: str) -> dict[str, Any]:
    statuses = [*ALWAYS, *(WITH_BODY if route.takes else ()), *route.errors]
    failed = {
        str(status): {"$ref": f"#/components/responses/manage{status}"}
        for status in sorted(statuses)
    }
    told: dict[str, Any] = {
        "summary": route.summary,
        "tags": ["manage"],
        "security": [{"token": []}],
        "parameters": [*_in_path(route), *map(_parameter, route.query)],
        "responses": {str(route.status): _good(route, ref), **failed},
    }
    if route.takes is not None:
        shape = {"$ref": ref.format(name=route.takes.__name__)}
        content = {JSON: {"schema": shape, "example": route.example}}
        told["requestBody"] = {"required": True, "content": content}
    return told


def _good(route: Route, ref: str) -> dict[str, Any]:
    name = route.gives.__name__
    one = {"$ref": ref.format(name=name)}
    data = {"type": "array", "items": one} if route.many else one
    properties: dict[str, Any] = {"ok": {"const": True}, "data": data}
    example: dict[str, Any] = {"ok": True, "data": EXAMPLES[name]}
    if route.many:
        properties["nextCursor"] = {"type": ["string", "null"]}
        example = {"ok": True, "data": [EXAMPLES[name]], "nextCursor": None}
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"description": "Done", "content": {JSON: {"schema": schema, "example": example}}}


def _in_path(route: Route) -> list[dict[str, Any]]:
    made = []
    for segment in route.segments:
        name = segment.strip("{}")
        if name != segment:
            text = _AN_ACCOUNT if name == "account" else PARAMETERS[name]
            made.append(_said(name, "path", text))
    return made


def _parameter(name: str) -> dict[str, Any]:
    return _said(name, "header" if name == "Idempotency-Key" else "query", PARAMETERS[name])


def _said(name: str, where: str, text: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if name in FORMATS:
        schema["format"] = FORMATS[name]
    if where == "path":
        schema["minLength"] = 1
    return {
        "name": name,
        "in": where,
        "description": text,
        "required": where == "path",
        "schema": schema,
    }
