"""What the command line can do, the management API can: a list of both that leaves nothing out."""

from __future__ import annotations

from collections.abc import Iterator

import click

from waypost.cli.main import root
from waypost.pages.manage.serve import routes

SERVED = {
    "account create": ["POST /accounts"],
    "account set": ["PATCH /accounts/{account}"],
    "account disable": ["POST /accounts/{account}/disable"],
    "account enable": ["POST /accounts/{account}/enable"],
    "account list": ["GET /accounts"],
    "account show": ["GET /accounts/{account}"],
    "key create": ["POST /keys"],
    "key delete": ["DELETE /keys/{key}"],
    "key disable": ["POST /keys/{key}/disable"],
    "key enable": ["POST /keys/{key}/enable"],
    "key list": ["GET /keys", "GET /keys/{key}"],
    "key rotate": ["POST /keys/{key}/rotate"],
    "token create": ["POST /tokens"],
    "token delete": ["DELETE /tokens/{token}"],
    "token list": ["GET /tokens"],
    "member add": ["POST /members"],
    "member list": ["GET /members"],
    "member remove": ["DELETE /members/{email}"],
    "login-link": ["POST /members/{email}/login-link"],
    "credits add": ["POST /accounts/{account}/credits"],
    "credits ledger": ["GET /accounts/{account}/ledger"],
    "upstream add": ["POST /upstreams", "POST /upstream-tests"],
    "upstream connect": [
        "POST /upstreams/{upstream}/consent",
        "POST /consents",
        "POST /upstreams/{upstream}/client-credentials",
        "POST /upstreams/{upstream}/service-account",
    ],
    "upstream detect": ["GET /upstream-presets"],
    "upstream list": ["GET /upstreams"],
    "upstream pause": ["POST /upstreams/{upstream}/pause"],
    "upstream remove": ["DELETE /upstreams/{upstream}"],
    "upstream resume": ["POST /upstreams/{upstream}/resume"],
    "upstream set": ["PATCH /upstreams/{upstream}"],
    "upstream show": ["GET /upstreams/{upstream}"],
    "upstream test": ["POST /upstreams/{upstream}/test"],
    "upstream trust": ["POST /upstreams/{upstream}/trust"],
    "sender add": ["POST /senders"],
    "sender list": ["GET /senders", "GET /senders/{address}"],
    "sender remove": ["DELETE /senders/{address}"],
    "sender set": ["PATCH /senders/{address}"],
    "log list": ["GET /messages"],
    "log show": ["GET /messages/{id}"],
    "log resend": ["POST /messages/{id}/resend"],
    "log refusals": ["GET /refusals"],
    "log trail": ["GET /trail"],
    "queue show": ["GET /queue"],
    "queue retry": ["POST /messages/{id}/retry", "POST /queue/retry"],
    "queue cancel": ["POST /messages/{id}/cancel", "POST /queue/cancel"],
    "domain check": ["GET /domains/{domain}"],
    "domain verify": ["POST /message-readings"],
    "audit": ["GET /audit"],
    "doctor": ["GET /doctor"],
    "secrets rotate": ["POST /secrets/rotate"],
}
APART = {
    "serve": "it is what answers",
    "demo": "a relay of its own, in this terminal",
    "send": "a key does it: POST /api/v1/email/send",
    "sendmail": "the same, for programs that call sendmail",
    "log tail": "GET /messages, asked again",
    "backup": "writes a folder of the machine, and holds every secret",
    "restore": "needs a relay that is not running",
}


def commands(found: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that does something, as it is typed."""
    if not isinstance(found, click.Group):
        yield " ".join(path)
        return
    context = click.Context(found)
    for name in found.list_commands(context):
        inner = found.get_command(context, name)
        assert inner is not None
        yield from commands(inner, (*path, name))


def test_every_command_is_served_or_has_a_reason() -> None:
    assert sorted(commands(root)) == sorted([*SERVED, *APART])


def test_every_route_is_a_commands() -> None:
    there = {f"{route.method} {route.path}" for route in routes()}
    named = [name for served in SERVED.values() for name in served]
    assert sorted(named) == sorted(there)
