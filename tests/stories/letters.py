"""Generated messages, each with the octets that must arrive under our Received field.

A generator knows what it put in: what is expected is not found by reading the message again.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from peers.relay import SENDER

DATE = b"Date: Mon, 01 Jan 2024 00:00:00 +0000\r\n"
WORDS = [
    "alpha",
    "beta",
    "gamma",
    "Grüße",
    "日本",
    "delta",
    "=?utf-8?q?x=3Dy?=",
    "semi;colon",
    "(c)",
]


@dataclass(frozen=True)
class Letter:
    """`sent` goes in after DATA, `kept` must arrive; `hidden` addresses must not be seen."""

    sent: bytes
    kept: bytes
    recipients: list[str]
    hidden: list[str]
    eight_bit: bool


class Writer:
    """Writes one letter; `add` is kept, `drop` is what Waypost takes out."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.sent: list[bytes] = []
        self.kept: list[bytes] = []
        self.hidden: list[str] = []
        self.recipients = [f"to{seed}@example.com"]

    def add(self, octets: bytes) -> None:
        self.sent.append(octets)
        self.kept.append(octets)

    def drop(self, octets: bytes) -> None:
        self.sent.append(octets)

    def letter(self) -> Letter:
        steps = [self.addressed, self.blind, self.folded, self.eight_bit, self.odd, self.dropped]
        self.chance.shuffle(steps)
        self.add(f"From: Acme <{SENDER}>\r\n".encode())
        for step in steps:
            step()
        self.add(DATE)
        self.add(f"Message-ID: <{self.seed}.{self.chance.random()}@client.test>\r\n".encode())
        body = [self.plain, self.dots, self.empty, self.long, self.nested, self.raw]
        body[self.seed % len(body)]()
        sent, kept = b"".join(self.sent), b"".join(self.kept)
        return Letter(sent, kept, self.recipients, self.hidden, any(c > 127 for c in kept))

    # Header fields

    def addressed(self) -> None:
        self.add(f"To: {self.recipients[0]}\r\n".encode())
        if self.chance.random() < 0.5:
            copies = [f"cc{self.seed}.{n}@example.com" for n in range(self.chance.randint(1, 4))]
            self.recipients += copies
            self.add(b"Cc: " + ",\r\n\t".join(f"Copy <{a}>" for a in copies).encode() + b"\r\n")

    def blind(self) -> None:
        blind = f"blind{self.seed}@example.com"
        self.hidden.append(blind)
        self.recipients.append(blind)
        form = self.chance.randrange(6)
        if form == 0:
            self.drop(f"Bcc: {blind}\r\n".encode())
        elif form == 1:
            self.drop(f"bCC: =?utf-8?q?hidden?=\r\n  <{blind}>\r\n".encode())
        elif form == 2:
            self.drop(f"BCC:\r\n\t{blind},\r\n {self.recipients[0]}\r\n".encode())
        elif form == 3:
            self.drop(f"Bcc: nobody:;, (secret) {blind}\r\n".encode())
        elif form == 4:
            self.drop(f"Bcc: {blind}\r\n".encode())
            self.drop(f"Resent-Bcc: {blind}\r\n".encode())
        # else: in the envelope alone

    def folded(self) -> None:
        many = self.chance.randint(1, 6)
        lines = [" ".join(self.words(5)).encode("ascii", "ignore") for _ in range(many)]
        self.add(b"Subject: " + b"\r\n \t ".join(lines) + b"\r\n")

    def eight_bit(self) -> None:
        if self.chance.random() < 0.4:
            self.add(f"X-Note: {' '.join(self.words(6))}\r\n".encode())
        if self.chance.random() < 0.2:
            self.add(b"X-Latin: Gr\xfc\xdfe \xff\xfe\r\n")

    def odd(self) -> None:
        choices = [
            b"x-lower-CASE:no space after the colon\r\n",
            b"X-Empty:\r\n",
            b"X-Trailing: white space \t \r\n",
            b"X-Long: " + b"y" * self.chance.randint(900, 3000) + b"\r\n",
            b"DKIM-Signature: v=1; a=x;\r\n\tb=not/really+one==\r\n",
            b"Received: from far (far [192.0.2.1])\r\n\tby near; " + DATE[6:],
            b"X-Twice: 1\r\nX-Twice: 2\r\n",
        ]
        for octets in self.chance.sample(choices, self.chance.randint(0, 4)):
            self.add(octets)

    def dropped(self) -> None:
        choices = [
            b"Return-Path: <x@y.test>\r\n",
            b"content-length: 77\r\n",
            b"X-Waypost-Secret: 1\r\n\t2\r\n",
        ]
        for octets in self.chance.sample(choices, self.chance.randint(0, 2)):
            self.drop(octets)

    # Bodies

    def plain(self) -> None:
        self.add(b"\r\n" + b"".join(self.line(20) for _ in range(self.chance.randint(1, 50))))

    def dots(self) -> None:
        lines = [b".", b"..", b"...", b". ", b".x", b"x.", b"", b"QUIT", b"DATA", b".\t."]
        some = self.chance.choices(lines, k=self.chance.randint(1, 30))
        self.add(b"\r\n" + b"".join(x + b"\r\n" for x in some))

    def empty(self) -> None:
        self.add(b"\r\n" + b"\r\n" * self.chance.choice([0, 1, 2, 50]))

    def long(self) -> None:
        self.add(b"\r\n" + b"z" * self.chance.choice([997, 998, 999, 5000, 70000]) + b"\r\n.\r\n")

    def nested(self) -> None:
        depth = self.chance.randint(2, 8)
        marks = [f"b{self.seed}.{n}" for n in range(depth)]
        self.add(
            f"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary={marks[0]}\r\n".encode()
        )
        self.add(b"\r\n")
        for mark, inner in itertools.pairwise(marks):
            self.add(
                f"--{mark}\r\nContent-Type: multipart/related; boundary={inner}\r\n\r\n".encode()
            )
        self.add(f"--{marks[-1]}\r\nContent-Transfer-Encoding: base64\r\n\r\nSGk=\r\n".encode())
        for mark in reversed(marks):
            self.add(f"--{mark}--\r\n".encode())

    def raw(self) -> None:
        octets = self.chance.randbytes(self.chance.randint(1, 5000))
        for unwanted in (b"\r", b"\n", b"\0"):
            octets = octets.replace(unwanted, b"?")
        self.add(b"\r\n" + octets + b"\r\n")

    def line(self, most: int) -> bytes:
        return " ".join(self.words(self.chance.randint(0, most))).encode() + b"\r\n"

    def words(self, many: int) -> list[str]:
        return self.chance.choices(WORDS, k=many)


def letter(seed: int) -> Letter:
    """The letter of that number: always the same one."""
    return Writer(seed).letter()


def without_received(octets: bytes) -> bytes:
    """The message without its first field, which must be our Received."""
    assert octets.startswith(b"Received: "), octets[:80]
    end = octets.index(b"\r\n")
    while octets[end + 2 : end + 3] in (b" ", b"\t"):
        end = octets.index(b"\r\n", end + 2)
    return octets[end + 2 :]
