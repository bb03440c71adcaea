"""`waypost upstream`: add, test, list, show, set, pause, resume, trust, remove, detect, connect.

Promises that a password is read from a file or standard input, at once, and never printed, and that
what fails its test is saved only with --no-test. Knows nothing of what the servers say.
"""

from __future__ import annotations

from typing import Any

import click

from waypost.cli import out
from waypost.cli.base import (
    Call,
    Group,
    Number,
    PasswordFile,
    Wrapped,
    account_option,
    limit_option,
    pass_call,
    said,
)
from waypost.cli.mail.connect import connect
from waypost.cli.mail.trying import diagnosed, told, trial_of
from waypost.core.errors import UsageError

SAVE_ANYWAY = "not saved; --no-test saves it all the same"
OWNER = "Its owner; without it, the operator."
_COLUMNS = {
    "NAME": "name",
    "ACCOUNT": "account",
    "SERVER": "server",
    "STATE": "state",
    "LAST SUCCESS": "lastSuccessAt",
    "TODAY": "today",
    "DNS": "dns",
    "LAST ERROR": "trouble",
}
_FLAGS = (
    click.option("--sender", metavar="ADDRESS", help="The address that mail through it is From."),
    click.option("--preset", metavar="NAME", help="A provider: gmail, microsoft365, zoho, ses, …"),
    click.option("--region", metavar="NAME", help="Of the preset, where it has several."),
    click.option("--host", metavar="HOST", help="The server."),
    click.option("--port", type=int, metavar="PORT", help="587, 465 or 25 follow the encryption."),
    click.option("--encryption", metavar="[starttls|tls|none]", help="ssl is tls."),
    click.option("--username", metavar="NAME", help="Default: the sender. Empty: no login."),
    click.option("--password-file", "password", type=PasswordFile(), help="- is standard input."),
    click.option(
        "--login",
        type=click.Choice(["password", "xoauth2"]),
        help="xoauth2: by token, see `upstream connect`.",
    ),
    click.option("--validate", type=click.Choice(["auto", "on", "off"]), help="The certificate."),
    click.option("--from-name", metavar="TEXT", help="Shown beside the sender."),
    click.option("--daily-cap", type=Number("none", 1), help="Recipients a day."),
    click.option("--connections", type=Number(low=1), help="At once."),
    click.option("--per-connection", type=Number(), help="Messages a connection; 0: no limit."),
    click.option("--per-minute", type=Number(), help="Messages a minute; 0: no limit."),
    click.option("--recipients", type=Number(low=1), help="A transaction."),
    click.option(
        "--fallback", metavar="NAME", help="Takes over while this one is away. Empty: none."
    ),
    click.option("--no-test", is_flag=True, help="Save without trying it."),
)
_FORM = (
    "preset",
    "region",
    "host",
    "port",
    "encryption",
    "username",
    "validate",
    "daily_cap",
    "connections",
    "per_connection",
    "per_minute",
    "recipients",
)
_BESIDE = ("sender", "login", "password", "from_name", "fallback")


def _flags(command: Wrapped) -> Wrapped:
    for option in reversed(_FLAGS):
        command = option(command)
    return command


@click.group(cls=Group)
def upstream() -> None:
    """The SMTP servers that mail goes out through."""


upstream.add_command(connect)


@upstream.command()
@click.argument("name")
@_flags
@account_option(help="The account's own; its sender too.")
@click.option("--for", "for_account", metavar="NAME", help="The operator's, for that account.")
@click.pass_context
def add(
    context: click.Context, /, name: str, account: str | None, for_account: str | None, **flags: Any
) -> None:
    """Add a server, and its sender. Neither --account nor --for: everybody may use the sender."""
    from waypost.desk.connection import trial

    if flags["sender"] is None:
        raise UsageError("--sender is needed: the address that mail through it is From", "sender")
    if flags["host"] is None and flags["preset"] is None:
        raise UsageError(
            f"--preset or --host is needed: `waypost upstream detect {flags['sender']}` may tell",
            "host",
        )
    if account is not None and for_account is not None:
        raise UsageError("--account and --for exclude each other", "account")
    call = context.find_object(Call) or Call()
    fields, trying = _said(context, flags), trial_of(call, test=not flags["no_test"])
    with told(call, SAVE_ANYWAY):
        made = trial.add(
            call.desk(), trying, name, fields, account=account, for_account=for_account
        )
    _changed(call, context, made)


@upstream.command(name="set")
@click.argument("name")
@_flags
@account_option(help=OWNER)
@click.pass_context
def set_(context: click.Context, /, name: str, account: str | None, **flags: Any) -> None:
    """Change a server. A new host, port or user name asks for the password again."""
    from waypost.desk.connection import trial

    call = context.find_object(Call) or Call()
    fields, trying = _said(context, flags), trial_of(call, test=not flags["no_test"])
    with told(call, SAVE_ANYWAY):
        made = trial.change(call.desk(), trying, name, fields, account=account)
    _changed(call, context, made)


@upstream.command()
@click.argument("name")
@account_option(help=OWNER)
@click.option("--send-to", metavar="ADDRESS", help="Send a real mail there too.")
@pass_call
def test(call: Call, name: str, account: str | None, send_to: str | None) -> int:
    """Try a server step by step, and say what to change where it fails."""
    from waypost.desk.connection import trial

    view = trial.test(
        call.desk(), trial_of(call, say=out.line), name, account=account, send_to=send_to
    )
    if call.json:
        call.thing(view)
    elif view.ok:
        out.line(f"{name} works")
    else:
        diagnosed(view, out.line)
    return 0 if view.ok else 1


@upstream.command(name="list")
@account_option(help="Of this account alone.")
@limit_option()
@pass_call
def list_(call: Call, account: str | None, limit: int) -> None:
    """All servers: state, last success, today's use of the cap, last error."""
    from waypost.desk import upstreams

    views = upstreams.list_(call.desk(), account=account, limit=limit)
    shown: list[Any] = list(views)
    if not call.json:
        shown = [out.built(view) for view in views]
        for facts in shown:
            facts["server"] = f"{facts['host']}:{facts['port']}"
            cap = facts["dailyCap"]
            facts["today"] = f"{facts['usedToday']}" + (f" of {cap}" if cap is not None else "")
            facts["dns"] = _dns(facts["domains"])
            facts["trouble"] = facts["reason"] or facts["lastError"]
            if facts["through"]:
                facts["state"] += f", {facts['through']} meanwhile"
    call.things(shown, _COLUMNS, "no upstreams yet: waypost upstream add NAME --sender ADDRESS …")


def _dns(states: list[dict[str, Any]]) -> str:
    """What the daily check says of the domains, in a word or two."""
    wrong = [f"{state['domain']} {state['status']}" for state in states if state["status"] != "ok"]
    return ", ".join(wrong) or ("ok" if states else "")


@upstream.command()
@click.argument("name")
@account_option(help=OWNER)
@pass_call
def show(call: Call, name: str, account: str | None) -> None:
    """One server; never its password."""
    from waypost.desk import upstreams

    view = upstreams.show(call.desk(), name, account=account)
    call.thing(view)
    if not call.json:
        for state in view.domains:
            out.line(f"{state.domain}: {state.status} (checked {state.checked_at})")
            for problem in state.problems:
                out.line(f"- {problem}")


@upstream.command()
@click.argument("name")
@account_option(help=OWNER)
@click.option("--reason", default="", metavar="TEXT", help="Shown where its mail waits.")
@pass_call
def pause(call: Call, name: str, account: str | None, reason: str) -> None:
    """Nothing goes out through it until `resume`; its mail waits."""
    from waypost.desk import upstreams

    call.thing(
        upstreams.pause(
            call.desk(), name, account=account, **({"reason": reason} if reason else {})
        )
    )


@upstream.command()
@click.argument("name")
@account_option(help=OWNER)
@pass_call
def resume(call: Call, name: str, account: str | None) -> None:
    """End a pause or a back-off at once."""
    from waypost.desk import upstreams

    call.thing(upstreams.resume(call.desk(), name, account=account))


@upstream.command()
@click.argument("name")
@account_option(help=OWNER)
@click.option("--no-test", is_flag=True, help="Trust what the next connection shows.")
@pass_call
def trust(call: Call, name: str, account: str | None, no_test: bool) -> None:
    """Accept the certificate that it shows now in the place of the pinned one."""
    from waypost.desk.connection import trial

    with told(call, "nothing was changed"):
        view = trial.trust(call.desk(), trial_of(call, test=not no_test), name, account=account)
    if not call.json:
        out.line(f"was  {out.plain(view.old)}")
        out.line(f"now  {view.new}")
    call.thing(view, leave_out=("old", "new") if not call.json else ())


@upstream.command()
@click.argument("name")
@account_option(help=OWNER)
@click.option("--fail", is_flag=True, help="Fail and refund what waits for it.")
@pass_call
def remove(call: Call, name: str, account: str | None, fail: bool) -> None:
    """Take a server away, with its senders."""
    from waypost.desk import upstreams

    call.thing(upstreams.remove(call.desk(), name, account=account, fail=fail))


@upstream.command()
@click.argument("address")
@pass_call
def detect(call: Call, address: str) -> None:
    """Which provider an address is with, by its DNS, and what to enter for it."""
    from waypost.desk.connection.detect import detect as detected
    from waypost.transport.check.lookup import DnsLookup

    view = detected(DnsLookup(call.config.dns.servers), address)
    if call.json:
        call.thing(view)
        return
    call.thing(view, leave_out=("hints",))
    for hint in view.hints:
        out.line(f"- {hint}")


def _said(context: click.Context, flags: dict[str, Any]) -> Any:
    from waypost.desk.connection.edits import Fields
    from waypost.upstream.settings import Form

    beside = {name: flags[name] for name in _BESIDE if said(context, name)}
    if beside.get("fallback") == "":
        beside["fallback"] = None
    if flags["username"] == "":
        beside.setdefault("password", None)
    form = Form(**{name: flags[name] for name in _FORM if said(context, name)})
    return Fields(form=form, **beside)


def _changed(call: Call, context: click.Context, view: Any) -> None:
    from waypost.core.upstream import Encryption, Validate
    from waypost.upstream.settings import caution_of_name, cautions

    warned = cautions(Encryption(view.encryption), Validate(view.validate))
    if view.has_password:
        warned += caution_of_name(view.preset, view.username, view.senders)
    for caution in warned:
        out.warn(caution)
    if said(context, "validate") and view.validate != context.params["validate"]:
        out.warn(f"{view.host} has a certificate that verifies: validate stays {view.validate}")
    call.thing(view)
