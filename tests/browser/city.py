"""A relay with the look of one in use: mail sent, waiting and failed, keys, people, a month behind.

For pictures of the screens and for checks of every screen in a browser. What stands in the log went
through the relay; only the days before today are written into the store.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from pages.town import OPERATOR, PASSWORD, first_run, invited
from peers.dns_server import DnsServer
from peers.recording import Recording, RecordingServer
from peers.relay import Relay, ident_of

DAY_MS = 86_400_000
SENDERS = ("orders@northwind.test", "hello@northwind.test")
GOOD = (
    ("mia.berg@posteo.test", "Your order 10482 is on its way"),
    ("j.okafor@lagosnet.test", "Invoice 2026-1187"),
    ("sofia@fabrikam.test", "Welcome to Northwind"),
    ("tomasz.w@poczta.test", "Reset your password"),
    ("chen.li@contoso.test, ops@contoso.test", "Weekly report: 3 shipments late"),
    ("amelie@lefevre.test", "Votre facture de novembre est prête"),
    ("nikos@elliniko.test", "Η παραγγελία σας είναι καθ’ οδόν"),
    ("info@<b>shop</b>.test", "<script>alert('x')</script> & co"),
    ("lars@nordmail.test", "Your order 10483 is on its way"),
    ("paula@example.com", "Receipt for your payment"),
)
ZONE = (
    '@ MX 10 mx\n@ TXT "v=spf1 include:amazonses.com -all"\nmx A 192.0.2.25\n'
    '_dmarc TXT "v=DMARC1; p=none; rua=mailto:dmarc@northwind.test"\n'
)
SCREENS = {
    "login": "/login",
    "start": "/start",
    "overview": "/overview",
    "logs": "/logs",
    "refusals": "/logs/refusals",
    "message": "/logs/{failed}",
    "message-sent": "/logs/{sent}",
    "queue": "/queue",
    "senders": "/senders",
    "integrations": "/integrations",
    "integration": "/integrations/one?name=old-hosting",
    "integration-new": "/integrations/new",
    "domains": "/domains",
    "domain": "/domains/check?domain=northwind.test",
    "keys": "/keys",
    "key-lines": "/keys/lines",
    "credits": "/credits?account=northwind",
    "settings": "/settings",
    "account": "/settings/account",
    "members": "/settings/members",
    "trail": "/settings/trail",
    "operator": "/operator",
    "operator-account": "/operator/account?name=northwind",
    "health": "/operator/health",
}
"""Name of a screen -> its address; {failed} and {sent} are ids of messages."""


@dataclass
class City:
    """The relay, what the addresses of `SCREENS` need, and the cookies of two people."""

    relay: Relay
    idents: dict[str, str]
    operator: dict[str, str]
    owner: dict[str, str]

    def path(self, name: str) -> str:
        return SCREENS[name].format(**self.idents)


@contextmanager
def built(folder: Path) -> Iterator[City]:
    """The city, while it stands."""
    server, sick = RecordingServer(Recording()), RecordingServer(Recording())
    dns = DnsServer()
    dns.zone("northwind.test", ZONE)
    for each in (server, sick):
        each.start()
    sick.book.users["news"] = "another password"
    server.book.answers["RCPT"] = _answer
    relay = Relay(
        folder,
        settings='inline_wait = 30.0\nhostname = "relay.northwind.test"',
        tables={
            "limits": "rate_per_minute = 0",
            "queue": 'retry = ["6h"]',
            "keep": 'body = "7d"',
            "dns": f'servers = ["{dns.place}"]\nwatch_every = "5s"',
        },
    )
    relay.config.write_text(relay.config.read_text().replace('hostname = "relay.test"\n', ""))
    relay.start()
    try:
        yield _peopled(relay, server.book, sick.book)
    finally:
        relay.stop()
        dns.stop()
        for each in (server, sick):
            each.stop()


def _answer(line: str) -> str:
    if "gone" in line:
        return "550 5.1.1 <gone@fabrikam.test>: Recipient address rejected: User unknown"
    if "full" in line:
        return "452 4.2.2 The recipient's mailbox is full, try again later"
    return "250 2.1.5 Ok"


def _peopled(relay: Relay, book: Recording, sick: Recording) -> City:
    operator = first_run(relay)
    relay.cli("account", "create", "northwind", "--credits", "25000", "--rate-limit", "600")
    relay.cli("account", "create", "fabrikam", "--credits", "unlimited")
    relay.upstream("ses-frankfurt", book.port, SENDERS[0], "--daily-cap", "20000")
    relay.cli("sender", "add", SENDERS[1], "--upstream", "ses-frankfurt", "--global")
    password = relay.folder / "password"
    password.write_text("expired")
    login = ("--username", "news", "--password-file", str(password))
    relay.upstream("old-hosting", sick.port, "news@northwind.test", *login)
    owner = invited(relay, "ana@northwind.test", "northwind", "owner")
    relay.cli(
        "member", "add", "dev@northwind.test", "--account", "northwind", "--role", "developer"
    )
    key = relay.key("northwind", "--name", "web shop")
    relay.key("northwind", "--name", "nightly <reports>")
    relay.cli("key", "disable", str(relay.cli("key", "create", "--account", "fabrikam")["id"]))
    _month(relay)
    idents = _mail(relay, key)
    relay.cli("credits", "add", "northwind", "5000", "--note", "invoice 2026-311")
    return City(relay, idents, operator, owner)


def _mail(relay: Relay, key: str) -> dict[str, str]:
    idents = {}
    with relay.session(key):
        pass
    for to, subject in GOOD:
        idents["sent"] = _sent(relay, key, to, subject, "250")
    idents["queued"] = _sent(relay, key, "full@contoso.test", "Your statement", "250")
    _sent(relay, key, "a@b.test", "November news", "250", "news@northwind.test")
    idents["failed"] = _sent(relay, key, "gone@fabrikam.test", "Reminder: invoice 2026-1102", "550")
    _sent(relay, key, "x@y.test", "Hello", "550", "ceo@elsewhere.test")  # no such sender
    return idents


def _sent(
    relay: Relay, key: str, to: str, subject: str, code: str, sender: str = SENDERS[0]
) -> str:
    addresses = [part.strip() for part in to.split(",")]
    if "<" in to:
        addresses, to = ["info@shop.test"], f'"{to.split("@")[0]}" <info@shop.test>'
    octets = (
        f"From: Northwind <{sender}>\r\nTo: {to}\r\nSubject: {subject}\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        f"Hello,\r\n\r\n{subject}.\r\n\r\nNorthwind\r\n"
    ).encode()
    got, text = relay.submit(key, octets, addresses, sender)
    assert str(got) == code, (got, text)
    return ident_of(text) if code == "250" or "(" in text else ""


def _month(relay: Relay) -> None:
    """What was sent on the thirty days before today: sums at the end of each."""
    today = time.time_ns() // 1_000_000 // DAY_MS
    chance = random.Random(7)
    db = apsw.Connection(str(relay.data / "waypost.db"))
    db.set_busy_timeout(10_000)
    try:
        (account_id,) = (db.execute("SELECT id FROM account WHERE name = 'northwind'").get,)
        accepted = failed = 0
        with db:
            for day in range(today - 30, today):
                weekend = (day + 3) % 7 >= 5
                count = int((160 if weekend else 520) * chance.uniform(0.8, 1.25))
                accepted += count
                failed += int(count * chance.uniform(0.004, 0.03))
                sums = (day, accepted, accepted - failed, failed)
                for key in (0, account_id):
                    db.execute(
                        "INSERT OR REPLACE INTO tally VALUES (?, ?, ?, ?, ?, 0)", (key, *sums)
                    )
            db.execute(
                "UPDATE account SET counted_day = ?, accepted = ?, sent = ?, failed = ?,"
                " gone_charged = ?, gone_refunded = ?, balance = balance - ?,"
                " created_at = created_at - ? WHERE id = ?",
                (*sums, accepted, failed, accepted - failed, 31 * DAY_MS, account_id),
            )
            db.execute(
                "INSERT INTO ledger (account_id, at, amount, reason, note, balance)"
                " SELECT id, ?, ?, 'topup', 'carried over', balance FROM account WHERE id = ?",
                (time.time_ns() // 1_000_000, -(accepted - failed), account_id),
            )
    finally:
        db.close()


__all__ = ["OPERATOR", "PASSWORD", "SCREENS", "City", "built"]
