"""A message on its way: as it was submitted, as it was accepted, as it is delivered, and what came
of it.

Octets are the client's. A message is a head (its header section with the empty line that ends it)
and a rest (all that follows), so that the few header changes never copy a body; the rest of a
large message is a file.
"""

from __future__ import annotations

import msgspec

from waypost.core.address import Address
from waypost.core.lifecycle import State

DAY_MS = 86_400_000
NOTICE = "notice"
"""The channel of the relay's own notices: not charged, first tried with MAIL FROM:<>, and nothing
is ever told about them."""


class SpoolPart(msgspec.Struct, frozen=True):
    """The octets of a file in the spool from `offset` to its end. `name`: relative to the data
    directory."""

    name: str
    offset: int
    octets: int


class Content(msgspec.Struct, frozen=True):
    """A message as received, line ends mended (every line ends in CR LF; no other CR or LF).

    `head` ends with the empty line's CR LF where the message has one; `rest` is what follows it.
    `raw_octets` counts what the client sent after un-dotting, `digest` is the SHA-256 of the same
    octets (before mending); `eight_bit`: any octet above 127 in head or rest.
    """

    head: bytes
    rest: bytes | SpoolPart
    raw_octets: int
    digest: bytes
    eight_bit: bool


class Submission(msgspec.Struct, frozen=True):
    """A message on its way in, and who brings it. `mail_from` None is `<>`; `rcpt_to` in RCPT
    order. `again`: octets that went this way before are meant to be sent anew: they are no repeat,
    and `rcpt_to` is all there is (the header may name some who were never that message's)."""

    channel: str  # "smtp", "http", "command" or NOTICE
    account_id: int
    key_id: int | None  # None: `waypost send`
    peer: str
    helo: str
    tls: bool
    mail_from: Address | None
    rcpt_to: tuple[Address, ...]
    content: Content
    again: bool = False


class Addressee(msgspec.Struct, frozen=True):
    """A distinct recipient. `header_only`: named in To, Cc or Bcc but not in RCPT TO."""

    address: Address
    header_only: bool


class Idempotency(msgspec.Struct, frozen=True):
    """A client's own name for a call: SHA-256 of it and of the call, and which of its messages."""

    digest: bytes
    body: bytes
    number: int = 0


class Acceptance(msgspec.Struct, frozen=True):
    """A submission that was judged good, ready to be committed; `id` is made, `head` is as it goes
    out.

    `message_id`: the client's own Message-ID without brackets, empty where Waypost made one or
    where nothing is to be taken for a repeat.
    `smtp_message_id`: the one that goes out. `generation`: of the directory it was judged by.
    `rate_per_minute` 0 is none. `window_ms`: how far back a repeat is looked for, 0 is off.
    """

    id: int
    generation: int
    channel: str
    account_id: int
    key_id: int | None
    peer: str
    sender_id: int
    upstream_id: int
    envelope_from: Address
    subject: str
    message_id: str
    smtp_message_id: str
    null_sender: bool
    addressees: tuple[Addressee, ...]
    head: bytes
    rest: bytes | SpoolPart
    raw_octets: int
    digest: bytes
    eight_bit: bool
    rate_per_minute: int
    repeat_window_ms: int
    hold_until_ms: int = 0  # sendAt; 0 is now
    notice_of: int = 0  # the message that this is a notice about; 0: it is none
    idempotency: Idempotency | None = None


class Committed(msgspec.Struct, frozen=True):
    """The instant of acceptance has passed. `recipients` were charged. `repeat_of`: nothing was
    committed anew, since this message id already stands for the same submission. `key_taken`: it
    does so by its idempotency key, which another call was quicker to take."""

    id: int
    recipients: int
    repeat_of: int | None = None
    key_taken: bool = False


class Changed(msgspec.Struct, frozen=True):
    """Key, sender or upstream changed since the judgement: judge again. Nothing was kept."""


class Place(msgspec.Struct, frozen=True):
    """What a claim took of the daily cap of an upstream that is not the sender's own: `count`
    places of the UTC day `day`, counted from 1970; none where it was tried there that day."""

    upstream_id: int
    day: int
    count: int

    def holds(self, upstream_id: int, now_ms: int) -> bool:
        """Whether the message may go there now."""
        return self.upstream_id == upstream_id and self.day == now_ms // DAY_MS


class Parcel(msgspec.Struct, frozen=True):
    """A claimed message for delivery: the recipients still queued, and the octets as they go out.

    `tries` counts the attempts that count towards the schedule, `first_try_ms` is 0 before the
    first. `uncertain_row`: lost connections after the dot, in a row. `attempt`: number of the next
    attempt.
    """

    id: int
    account_id: int
    sender_id: int
    envelope_from: Address
    recipients: tuple[tuple[int, Address], ...]  # (number of the recipient from 1, address)
    head: bytes
    rest: bytes | SpoolPart
    octets: int
    eight_bit: bool
    accepted_ms: int  # or sendAt, where that is later
    attempt: int
    tries: int
    first_try_ms: int
    held_ms: int  # time that does not count towards giving up
    uncertain_row: int
    due_ms: int
    notice: bool = False  # of the relay itself: see NOTICE
    place: Place | None = None  # where it was claimed for another upstream than its sender's


class Result(msgspec.Struct, frozen=True):
    """Of one recipient in one attempt: its state after it, and the upstream's words (code 0:
    none)."""

    number: int
    state: State
    code: int
    text: str


class Attempt(msgspec.Struct, frozen=True):
    """One attempt of one message: always a result for every recipient of its parcel.

    Recipients left QUEUED are due again at `next_ms` (with `reason` saying why they wait).
    `counted`: it moves the schedule on. `transcript`: masked, at most 4 KB, empty where all ended
    in 250.
    """

    parcel: Parcel
    at_ms: int
    upstream_id: int
    upstream_name: str
    results: tuple[Result, ...]
    next_ms: int = 0
    reason: str = ""
    counted: bool = True
    uncertain: bool = False
    held_ms: int = 0  # added to the time that does not count
    transcript: str = ""
    damaged: bool = False  # its body is lost: no upstream was asked
    probe_ms: int = 0  # its upstream takes nothing before then, unless somebody acts
