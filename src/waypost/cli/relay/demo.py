"""`waypost demo`: the whole journey of one message, with nothing configured and no network.

Promises a data directory of its own that goes with the command, a real session over STARTTLS and
AUTH, that `--once` ends with 0 only if the message arrived byte for byte, and with --json one value
that tells it all. Knows nothing of SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import smtplib
import ssl
import sys
import tempfile
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

import click
import msgspec

from waypost import config as configuration
from waypost.app import App
from waypost.cli import out
from waypost.cli.base import Call, Command, pass_call
from waypost.cli.relay.catcher import Catcher, Caught
from waypost.cli.relay.serve import plain_names, run
from waypost.clock import SystemClock
from waypost.config import Config, Listen
from waypost.core.errors import ConfigError, Secret
from waypost.desk import accounts, keys, logs, secrets, upstreams
from waypost.desk.connection.edits import Fields
from waypost.desk.office import Desk
from waypost.listeners import Sockets, bind
from waypost.store.connect import make_data
from waypost.upstream.settings import Form
from waypost.values import Endpoint

SENDER = "noreply@waypost.example"
RECIPIENT = "you@example.net"
CREDITS = 100
RATE_PER_MINUTE = 0  # try by hand as often as you like
ANSWER = re.compile(rb"250 (OK|queued): ([0-9a-f]{16})")


class Outcome(msgspec.Struct):
    """What the demo's client saw: the dialogue (masked), the answer to DATA, the octets it sent."""

    dialogue: str
    answer: str
    sent: bytes


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="End after the message, with 0 if it arrived.")
@pass_call
def demo(call: Call, once: bool) -> int:
    """Try it: a relay, an upstream and a message, in one command."""
    return run(_in_folder(once, call.json))


async def _in_folder(once: bool, as_json: bool) -> int:
    with tempfile.TemporaryDirectory(prefix="waypost-demo-") as folder:
        return await _demo(Path(folder) / "data", once, as_json)


async def _demo(data: Path, once: bool, as_json: bool) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    catcher = Catcher()
    catcher_port = await catcher.start()
    config, sockets = _bound(data)
    make_data(config.data)
    app = App(config, SystemClock(), sockets, lambda _reason: stopping.set())
    try:
        await app.start()
        smtp_port = sockets.submission[0].getsockname()[1]
        desk = make_desk(config)
        key = await asyncio.to_thread(_furnish, desk, catcher_port)
        places = app.places()
        if not as_json:
            _say("The relay listens", [f"{k:<22} {p}" for k, pp in places.items() for p in pp])
        outcome = await asyncio.to_thread(_submit, smtp_port, key)
        arrived = _arrived(catcher.caught, outcome.sent)
        told = await asyncio.to_thread(_looked_up, desk, outcome, catcher.caught, arrived)
        if as_json:
            out.json({**told, "key": key, "listening": plain_names(places)})
            sys.stdout.flush()
        else:
            _report(told)
        if not once:
            if not as_json:
                _print_lines(smtp_port, key)
            await stopping.wait()
    finally:
        await app.stop()
        await catcher.close()
    return 0 if arrived else 1


def _bound(data: Path) -> tuple[Config, Sockets]:
    """The usual ports of loopback where they are free, else any."""
    usual = configuration.default(data, hostname="relay.waypost.example")
    with contextlib.suppress(ConfigError):
        return usual, bind(usual)
    free = (Endpoint("127.0.0.1", 0),)
    config = configuration.default(
        data,
        hostname="relay.waypost.example",
        listen=Listen(submission=free, submissions=free, http=free),
    )
    return config, bind(config)


def make_desk(config: Config) -> Desk:
    """The desk of the demo's own data directory."""
    clock = SystemClock()
    return Desk(
        data=config.data,
        clock=clock,
        sealer=secrets.FileSealer(config.key_file, clock),
        key_file=config.key_file,
        key_prefix=config.key_prefix,
        rate_per_minute=RATE_PER_MINUTE,
    )


def _furnish(desk: Desk, catcher_port: int) -> str:
    """An account with credits, a key, and the catcher as the upstream; the key's secret."""
    accounts.create(desk, "demo", credits=CREDITS, rate_limit=None)
    fields = Fields(
        form=Form(host="127.0.0.1", port=catcher_port, encryption="none", username="demo"),
        sender=SENDER,
        password=Secret("demo"),
    )
    upstreams.add(desk, "catcher", fields)
    secret = keys.create(desk, "demo", name="demo").key
    assert isinstance(secret, str)
    return secret


def _submit(port: int, key: str) -> Outcome:
    """Sends one message as any application would: STARTTLS, AUTH, MAIL, RCPT, DATA."""
    date = formatdate(SystemClock().wall_ms() / 1000, localtime=True)
    message_id = make_msgid(domain="waypost.example")
    body = (
        f"From: Waypost demo <{SENDER}>\r\nTo: {RECIPIENT}\r\nSubject: Hello from Waypost\r\n"
        f"Date: {date}\r\nMessage-ID: {message_id}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        "It works.\r\n.A line that begins with a dot, and an umlaut: \u00fc\r\n"
    ).encode()
    context = ssl.create_default_context()
    context.check_hostname = False  # the demo's certificate was made a moment ago, by itself
    context.verify_mode = ssl.CERT_NONE
    with _OverheardClient("127.0.0.1", port, timeout=20) as client:
        client.set_debuglevel(1)
        client.starttls(context=context)
        client.login("anything", key)
        client.mail(SENDER)
        client.rcpt(RECIPIENT)
        _code, answer = client.data(body)
    return Outcome(_dialogue(client.heard, key), answer.decode("ascii", "replace"), body)


class _OverheardClient(smtplib.SMTP):
    """smtplib, with what it says of its session kept instead of printed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.heard: list[str] = []
        super().__init__(*args, **kwargs)

    def _print_debug(self, *args: Any) -> None:
        self.heard.append(" ".join(str(arg) for arg in args))


def _dialogue(heard: list[str], key: str) -> str:
    """smtplib's lines as C: and S:, the login masked."""
    lines = []
    for line in heard:
        said = re.match(r"(send|reply): b?'(.*)'$", line)
        if said is None:
            continue
        text = said.group(2).replace("\\r\\n", "")
        if text.startswith("AUTH"):
            text = "AUTH PLAIN ***"
        if said.group(1) == "send" and text.startswith("From:"):
            text = "(the message)"
        lines.append(f"{'C' if said.group(1) == 'send' else 'S'}: {text.replace(key, '***')}")
    return "\n".join(lines)


def _arrived(caught: list[Caught], sent: bytes) -> bool:
    """What came is what was sent, under one Received field of ours."""
    if len(caught) != 1 or caught[0].recipients != [RECIPIENT]:
        return False
    trace = caught[0].octets.removesuffix(sent)
    return (
        trace != caught[0].octets
        and re.fullmatch(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", trace) is not None
    )


def _looked_up(desk: Desk, outcome: Outcome, caught: list[Caught], arrived: bool) -> dict[str, Any]:
    """What happened, as the people who run it would look it up."""
    return {
        "ok": arrived,
        "dialogue": outcome.dialogue.splitlines(),
        "answer": f"250 {outcome.answer}",
        "message": logs.show(desk, logs.list_(desk, limit=1)[0].id),
        "ledger": accounts.ledger(desk, "demo"),
        "caught": caught[0].octets.decode("utf-8", "replace") if caught else None,
    }


def _report(told: dict[str, Any]) -> None:
    """The same for people."""
    _say("One message was sent over STARTTLS and AUTH", told["dialogue"])
    _say("The answer to DATA", [told["answer"]])
    entry = told["message"]
    tries = [
        f"{to.address}: {to.status}, {attempt.upstream} said {attempt.code} {attempt.text}"
        for to in entry.recipients
        for attempt in to.attempts
    ]
    _say(
        f"The log entry (waypost log show {entry.id})", [f"{entry.status}: {entry.subject}", *tries]
    )
    lines = [
        f"{line.at}  {line.amount:+d}  {line.reason}  balance {line.balance}"
        for line in told["ledger"]
    ]
    _say("The ledger (waypost credits ledger demo)", lines)
    verdict = "byte for byte, under one Received field" if told["ok"] else "NOT as it was sent"
    _say(f"What the upstream caught, {verdict}", (told["caught"] or "nothing came").splitlines())


def _print_lines(port: int, key: str) -> None:
    """Lines to try by hand, ready to be pasted."""
    head = f"From: {SENDER}\\r\\nTo: {RECIPIENT}\\r\\nSubject: hi"
    server = f"127.0.0.1:{port}"
    _say(
        "Try it by hand, with swaks, curl or Python",
        [
            f"swaks --server {server} --tls --auth PLAIN --auth-user x --auth-password {key}"
            f" --from {SENDER} --to {RECIPIENT}",
            "",
            f"printf '{head}\\r\\n\\r\\nhello\\r\\n' |"
            f" curl --silent --show-error --verbose --ssl-reqd --insecure --user x:{key}"
            f" --mail-from {SENDER} --mail-rcpt {RECIPIENT} --upload-file - smtp://{server}",
            "",
            f"python3 -c \"import smtplib, ssl; s = smtplib.SMTP('127.0.0.1', {port});"
            " s.starttls(context=ssl._create_unverified_context());"
            f" s.login('x', '{key}'); s.sendmail('{SENDER}', '{RECIPIENT}',"
            f" 'From: {SENDER}\\nTo: {RECIPIENT}\\nSubject: hi\\n\\nhello')\"",
        ],
    )
    print(
        "\nThe relay stays up until you interrupt it (Ctrl-C); its data goes with it.", flush=True
    )


def _say(title: str, lines: list[str]) -> None:
    print(f"\n{title}\n{'-' * len(title)}", flush=False)
    for line in lines:
        print(line)
    sys.stdout.flush()
