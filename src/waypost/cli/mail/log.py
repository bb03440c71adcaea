"""`waypost log`: list, show, resend, refusals, trail, tail.

Promises that what outsiders wrote cannot command a terminal. Knows nothing of how mail is kept.
"""

from __future__ import annotations

import sys
from threading import Event
from typing import Any

import click

from waypost.cli import out
from waypost.cli.base import Call, Group, Moment, Number, account_option, limit_option, pass_call

TAIL_POLL_S = 0.5  # what a person calls at once; a look costs a range scan of nothing
TAIL_FIRST = 10  # as tail(1)
_COLUMNS = {
    "ID": "id",
    "AT": "createdAt",
    "STATUS": "status",
    "TO": "recipients",
    "ACCOUNT": "account",
    "FROM": "from",
    "SUBJECT": "subject",
}
_REFUSALS = {
    "AT": "at",
    "COUNT": "count",
    "VIA": "channel",
    "PEER": "peer",
    "ACCOUNT": "account",
    "KEY": "key",
    "FROM": "from",
    "TO": "to",
    "ANSWER": "answer",
}
_TRAIL = {
    "AT": "at",
    "WHO": "actor",
    "DID": "deed",
    "TO": "subject",
    "ACCOUNT": "account",
    "PEER": "peer",
}
_RECIPIENTS = {
    "NO.": "number",
    "RECIPIENT": "address",
    "STATUS": "status",
    "CODE": "code",
    "THE UPSTREAM SAID": "text",
}
_ATTEMPTS = {
    "AT": "at",
    "NO.": "number",
    "UPSTREAM": "upstream",
    "UNCERTAIN": "uncertain",
    "CODE": "code",
    "THE UPSTREAM SAID": "text",
}
_LEDGER = {"AT": "at", "AMOUNT": "amount", "REASON": "reason", "NO.": "recipient", "NOTE": "note"}


@click.group(cls=Group)
def log() -> None:
    """What became of each message, and what was refused."""


@log.command(name="list")
@account_option()
@click.option(
    "--status",
    type=click.Choice(["queued", "sent", "partial", "failed", "cancelled"]),
)
@click.option("--from", "sender", metavar="ADDRESS", help="Mail from this address.")
@click.option("--to", metavar="ADDRESS", help="Mail to this address.")
@click.option("--after", type=Moment(), help="Accepted at or after this time.")
@click.option("--before", type=Moment(), help="Accepted before this time.")
@limit_option()
@pass_call
def list_(call: Call, /, **filters: Any) -> None:
    """Messages, newest first."""
    from waypost.desk import logs

    call.things(logs.list_(call.desk(), **filters), _COLUMNS, "no messages")


@log.command()
@click.argument("ident", metavar="ID")
@account_option()
@pass_call
def show(call: Call, ident: str, account: str | None) -> None:
    """One message: its recipients, every attempt with the upstream's words, its charges."""
    from waypost.desk import logs

    view = logs.show(call.desk(), ident, account=account)
    print_message(call, view)


@log.command()
@click.argument("ident", metavar="ID")
@account_option(help="The owner of the message.")
@pass_call
def resend(call: Call, ident: str, account: str | None) -> int:
    """Send it again, while it is kept: a new message with a new id and charge."""
    from waypost.cli.relay import send

    view = send.resubmitted(call.config, call.desk(), ident, account)
    print_message(call, view)
    return send.code_of(view)


@log.command()
@account_option()
@click.option(
    "--to",
    metavar="ADDRESS",
    help="Those that were to this address, or whose answer names it; a part of one will do.",
)
@limit_option()
@pass_call
def refusals(call: Call, account: str | None, to: str | None, limit: int) -> None:
    """Submissions that were refused, newest first, and what was answered."""
    from waypost.desk import logs

    views = logs.refusals(call.desk(), account=account, to=to, limit=limit)
    call.things(views, _REFUSALS, "nothing was refused")


@log.command()
@account_option()
@limit_option()
@pass_call
def trail(call: Call, account: str | None, limit: int) -> None:
    """Who changed what, newest first."""
    from waypost.desk.access import trail as deeds

    views = deeds.list_(call.desk(), account=account, limit=limit)
    call.things(views, _TRAIL, "nothing was changed")


@log.command()
@click.option(
    "-n",
    "--lines",
    type=Number(),
    default=TAIL_FIRST,
    show_default=True,
    help="How many of the newest to begin with.",
)
@pass_call
def tail(call: Call, lines: int) -> None:
    """Follow the log until interrupted; with --json a JSON value a line."""
    from waypost.desk import logs

    desk = call.desk()
    fresh: list[Any] = list(reversed(logs.list_(desk, limit=lines))) if lines else []
    newest = logs.list_(desk, limit=1)
    last = newest[0].id if newest else None
    idle = Event()  # nobody sets it: a wait that an interrupt ends
    while True:
        for view in fresh:
            _tail_line(call, view)
            last = view.id
        if not fresh:
            idle.wait(TAIL_POLL_S)
        fresh = logs.newer(desk, last)


def print_message(call: Call, view: Any) -> None:
    """A message whole, for people or as JSON."""
    if call.json:
        out.json(view)
        return
    facts = out.built(view)
    for recipient in facts["recipients"]:
        for answer in (recipient, *recipient["attempts"]):
            answer["code"] = answer["code"] or None  # 0: the upstream said nothing
    out.facts(facts, leave_out=("recipients", "transcripts", "ledger"))
    out.line("")
    out.table(facts["recipients"], _RECIPIENTS, "no recipients")
    attempts = [
        {**attempt, "number": recipient["number"]}
        for recipient in facts["recipients"]
        for attempt in recipient["attempts"]
    ]
    for things, columns in ((attempts, _ATTEMPTS), (facts["ledger"], _LEDGER)):
        if things:
            out.line("")
            out.table(things, columns, "")
    for attempt in facts["transcripts"]:
        out.line("")
        out.line(f"attempt {attempt['attempt']} through {attempt['upstream']}:")
        for said in attempt["transcript"].splitlines():
            out.line(f"  {said}")


def _tail_line(call: Call, view: Any) -> None:
    if call.json:
        out.json(view)
    else:
        facts = out.built(view)
        out.line("  ".join(out.plain(facts[field]) for field in _COLUMNS.values()))
    sys.stdout.flush()
