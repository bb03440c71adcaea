"""The description of the API for programs (OpenAPI 3.1) and the page for people.

Promises that shapes come from the very types that calls are read with and answered by, and that the
page asks no other server for anything. Knows nothing of what the routes do.
"""

from __future__ import annotations

import html
from typing import Any

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from waypost.core.verdict import TABLE
from waypost.desk.views import AccountView, MessageLine, MessageView, RefusalView
from waypost.intake.http.answer import Sent
from waypost.intake.http.draft import BATCH_MESSAGES, Draft
from waypost.pages.manage import serve as manage
from waypost.pages.manage.document import describe
from waypost.web import JSON

REF = "#/components/schemas/{name}"
MAIL = "/api/v1/email"
MESSAGE = f"{MAIL}/messages/{{id}}"
DRAFT = {"to": "ann@example.com", "subject": "Hello", "text": "It works."}
SENT = {
    "messageId": "1a1fd7e724600000",
    "smtpMessageId": "1a1fd7e724600000@relay.example.com",
    "status": "sent",
    "from": "noreply@relay.example.com",
    "recipients": 1,
    "creditsCharged": 1,
}
ERRORS = {
    400: ("INVALID_REQUEST, INVALID_ADDRESS or SENDER_NOT_ALLOWED: see `field`", "INVALID_REQUEST"),
    401: ("No key, or one that is not known", "UNAUTHORIZED"),
    402: ("Not enough credits", "INSUFFICIENT_CREDITS"),
    403: ("The key or its account is disabled", "KEY_DISABLED"),
    404: ("Nothing of yours has this id", "NOT_FOUND"),
    405: ("The address does not take this method", "INVALID_REQUEST"),
    408: ("The body came too slowly", "INVALID_REQUEST"),
    409: ("The key of the call was used, or the message is in another state", "WRONG_STATE"),
    413: ("Too large", "TOO_LARGE"),
    415: ("Another content type than expected", "INVALID_REQUEST"),
    429: ("More messages in a minute than the key may send: see Retry-After", "RATE_LIMITED"),
    502: ("The upstream refused every recipient for good; refunded", "UPSTREAM_REFUSED"),
    503: ("The relay cannot take it now: see Retry-After", "UNAVAILABLE"),
}
READING = (400, 401, 403, 404, 503)
SENDING = (400, 401, 402, 403, 408, 409, 413, 415, 429, 502, 503)
CODES = sorted(
    {row.word for row in TABLE.values()}
    | {"UPSTREAM_REFUSED", "IDEMPOTENCY_CONFLICT", "NOT_FOUND", "WRONG_STATE", "BODY_GONE"}
    | {"FORBIDDEN", "TEST_FAILED"}
)
PARAMETERS = {
    "Idempotency-Key": ("header", "The same key and body get the first answer again, for 24 hours"),
    "status": ("query", "queued, sent, partial, failed or cancelled"),
    "from": ("query", "The sender's address"),
    "to": ("query", "A recipient's address"),
    "after": ("query", "Accepted from then on: ISO 8601"),
    "before": ("query", "Accepted before then: ISO 8601"),
    "cursor": ("query", "`nextCursor` of the page before"),
    "limit": ("query", "1 to 1000; 100"),
    "envelope-to": ("query", "A recipient; may be given again. Without: To, Cc and Bcc"),
    "envelope-from": ("query", "Who it is from, where it has no From"),
    "id": ("path", "The id of a message"),
}


def document(version: str) -> dict[str, Any]:
    """The whole description."""
    _, shapes = msgspec.json.schema_components(
        [Draft, Sent, MessageLine, MessageView, AccountView, RefusalView], ref_template=REF
    )
    shapes["Error"] = {
        "type": "object",
        "required": ["ok", "error", "code"],
        "properties": {
            "ok": {"const": False},
            "error": {"type": "string", "description": "For people"},
            "code": {"enum": CODES, "description": "For programs"},
            "field": {"type": "string"},
        },
    }
    managing = manage.routes()
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Waypost",
            "version": version,
            "description": "Send mail and look it up with a key, manage accounts with a token.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": {**_sending(), **_reading(), **describe.paths(managing, REF)},
        "components": {
            "schemas": {**describe.shapes(managing, REF), **shapes},
            "securitySchemes": {
                "key": {**bearer, "description": "A key: waypost key create"},
                "token": {**bearer, "description": "A token: waypost token create"},
            },
            "responses": {
                **{str(status): _error(status) for status in ERRORS},
                **describe.responses(),
            },
        },
    }


def handlers(version: str) -> list[HTTPRouteHandler]:
    """`/openapi.json` and `/docs`."""
    described = document(version)
    octets = msgspec.json.encode(described)
    page = _page(described).encode()

    @get("/openapi.json", sync_to_thread=False)
    def openapi() -> ASGIResponse:
        return ASGIResponse(body=octets, media_type=JSON)

    @get("/docs", sync_to_thread=False)
    def docs() -> ASGIResponse:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return ASGIResponse(body=page, media_type="text/html", headers=policy)

    return [openapi, docs]


def _sending() -> dict[str, Any]:
    sent = {"200": _good("Sent", SENT), "202": _good("Sent", {**SENT, "status": "queued"})}
    one = {"$ref": REF.format(name="Draft")}
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": BATCH_MESSAGES}
    key = ["Idempotency-Key"]
    return {
        f"{MAIL}/send": {"post": _call("Send a message", sent, SENDING, key, (JSON, one, DRAFT))},
        f"{MAIL}/batch": {
            "post": _call(
                "Send up to 100 messages; each has its own answer",
                {"200": _list()},
                SENDING,
                key,
                (JSON, {"anyOf": [many, _object({"messages": many})]}, [DRAFT]),
            )
        },
        f"{MAIL}/raw": {
            "post": _call(
                "Send a message that is written already (RFC 5322)",
                sent,
                SENDING,
                [*key, "envelope-to", "envelope-from"],
                ("message/rfc822", {"type": "string"}, "From: a@example.com\r\n\r\nHi.\r\n"),
            )
        },
        f"{MESSAGE}/resend": {
            "post": _call(
                "Send it again, to the same recipients: a new message with a new id and charge;"
                " 409 BODY_GONE where it is no longer kept",
                sent,
                (*SENDING, 404),
                [*key, "id"],
            )
        },
    }


def _reading() -> dict[str, Any]:
    whole = {"200": _good("MessageView")}
    return {
        f"{MAIL}/messages": {
            "get": _call(
                "Messages, newest first",
                {"200": _list("MessageLine")},
                READING,
                ["status", "from", "to", "after", "before", "cursor", "limit"],
            )
        },
        MESSAGE: {"get": _call("One message, every attempt", whole, READING, ["id"])},
        f"{MESSAGE}/cancel": {
            "post": _call("Cancel what is queued, refunded", whole, (*READING, 409), ["id"])
        },
        f"{MESSAGE}/retry": {
            "post": _call("Try what is queued now", whole, (*READING, 409), ["id"])
        },
        "/api/v1/account": {
            "get": _call("Credits, limits, use", {"200": _good("AccountView")}, READING, [])
        },
        "/api/v1/refusals": {
            "get": _call(
                "Refused calls and sessions, newest first",
                {"200": _list("RefusalView")},
                READING,
                ["to", "cursor", "limit"],
            )
        },
    }


def _call(
    summary: str,
    good: dict[str, Any],
    errors: tuple[int, ...],
    parameters: list[str],
    body: tuple[str, Any, Any] | None = None,
) -> dict[str, Any]:
    failed = {str(status): {"$ref": f"#/components/responses/{status}"} for status in errors}
    told: dict[str, Any] = {"summary": summary, "responses": {**good, **failed}}
    told["parameters"] = [
        {
            "name": name,
            "in": PARAMETERS[name][0],
            "description": PARAMETERS[name][1],
            "required": PARAMETERS[name][0] == "path",
            "schema": {"type": "string"},
        }
        for name in parameters
    ]
    if body is not None:
        kind, schema, example = body
        content = {kind: {"schema": schema, "example": example}}
        told["requestBody"] = {"required": True, "content": content}
    return told


def _good(name: str, example: object = None) -> dict[str, Any]:
    schema = _object({"ok": {"const": True}, "data": {"$ref": REF.format(name=name)}})
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = {"ok": True, "data": example}
    return {"description": "Done", "content": {JSON: content}}


def _list(name: str = "") -> dict[str, Any]:
    items = {"$ref": REF.format(name=name)} if name else {"type": "object"}
    schema = _object({"ok": {"const": True}, "data": {"type": "array", "items": items}})
    if name:
        schema["properties"]["nextCursor"] = {"type": ["string", "null"]}
    return {"description": "Done", "content": {JSON: {"schema": schema}}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _error(status: int) -> dict[str, Any]:
    text, code = ERRORS[status]
    example = {"ok": False, "error": text, "code": code}
    content = {JSON: {"schema": {"$ref": REF.format(name="Error")}, "example": example}}
    return {"description": text, "content": content}


def _page(described: dict[str, Any]) -> str:
    """The description as one page of plain HTML."""
    rows: list[str] = []
    for path, methods in described["paths"].items():
        for method, call in methods.items():
            rows.append(f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>")
            rows.append(f"<p>{html.escape(call['summary'])}</p><ul>")
            rows += [
                f"<li><code>{found['name']}</code> ({found['in']}): "
                f"{html.escape(found['description'])}</li>"
                for found in call["parameters"]
            ]
            rows.append("</ul>")
            body = call.get("requestBody")
            for kind, shape in body["content"].items() if body else ():
                example = html.escape(_pretty(shape["example"]))
                rows.append(f"<p>{kind}, for example</p><pre>{example}</pre>")
            rows.append(f"<p>Answers: {', '.join(call['responses'])}</p>")
    shapes = html.escape(_pretty(described["components"]["schemas"]))
    errors = "".join(
        f"<li>{status}: {html.escape(text)}</li>" for status, (text, _) in ERRORS.items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Waypost API</title>"
        "<style>body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}"
        "pre{background:#eee;padding:1em;overflow:auto}</style><h1>Waypost API</h1>"
        "<p>Every call: <code>Authorization: Bearer KEY</code>, or, under /api/v1/manage,"
        " a token (<code>waypost token create</code>). An error is"
        ' <code>{"ok":false,"error","code","field"?}</code>.'
        " For programs: <a href=/openapi.json>/openapi.json</a>.</p>"
        f"{''.join(rows)}<h2>Errors</h2><ul>{errors}</ul><h2>Shapes</h2><pre>{shapes}</pre>"
    )


def _pretty(value: object) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
