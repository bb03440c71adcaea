"""Who a message is from: exactly one From with one address that the account may use, and no other
identity.

From, Sender, Resent-From and Resent-Sender are read by the one strict grammar. A name or comment
that looks like an address must be the address, since many readers show nothing else. Knows nothing
of recipients, credits or what goes out.
"""

from __future__ import annotations

import functools
import re
import unicodedata

import msgspec

from waypost.core.address import Address, parse
from waypost.core.errors import AddressError, NonAsciiLocalPart
from waypost.core.facts import Directory, Sender
from waypost.core.message import Submission
from waypost.core.reply import printable
from waypost.core.verdict import Reason, Refusal
from waypost.policy import words
from waypost.policy.grammar import Mailbox, mailbox_list
from waypost.policy.header import Fields, unfolded

_OTHERS = {
    b"sender": "Sender",
    b"resent-from": "Resent-From",
    b"resent-sender": "Resent-Sender",
}
_BREAK = re.compile(r'[\s<>"(),;:\\\[\]]+')
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_AT_SIGNS = str.maketrans({"\uff20": "@", "\ufe6b": "@"})  # shown like @
_AROUND = "'`.!?*@"
KEPT_VALUES = 256  # an application sends from few addresses
KEPT_OCTETS = 256  # of a value; full of addresses, all that are kept come to some 6 MB


class Origin(msgspec.Struct, frozen=True):
    """The sender that was picked. `mailbox`: its From in the header, None where it had none."""

    sender: Sender
    address: Address
    mailbox: Mailbox | None


def find(fields: Fields, submission: Submission, directory: Directory) -> Origin | Refusal:
    """The origin of a message; SENDER (550 5.7.1) or NOT_ASCII (5.6.7) where it has no right to
    one.
    """
    account_id = submission.account_id
    for name, label in _OTHERS.items():
        for value in fields.named(name):
            refused = _other(value, label, account_id, directory)
            if refused is not None:
                return refused
    froms = fields.named(b"from")
    if len(froms) > 1:
        return _refused(f"The message has {len(froms)} From fields: write exactly one")
    if not froms:
        return _default(submission, directory)
    read = _read(froms[0], "From")
    if isinstance(read, Refusal):
        return read
    if len(read) != 1:
        return _refused(f"The From field holds {len(read)} addresses: write exactly one")
    mailbox = read[0]
    sender = directory.sender_for(account_id, mailbox.address)
    if sender is None:
        return _not_allowed(mailbox.address, "From")
    return Origin(sender, mailbox.address, mailbox)


def foreign(text: str, address: Address) -> str:
    """The first thing in a shown text that looks like another address than this, or nothing."""
    if not text.isascii():
        text = "".join(c for c in text.translate(_AT_SIGNS) if unicodedata.category(c) != "Cf")
    if "@" not in text:
        return ""
    for piece in _BREAK.split(text):
        bare = piece.strip(_AROUND)
        left, _, right = piece.rstrip(_AROUND).rpartition("@")
        if not (left and right):
            continue
        if "@" not in bare:  # signs alone: `'@acme` is no address, `*@b.example` is one
            if "." not in right:
                continue
            bare = piece
        try:
            same = parse(bare).key == address.key
        except AddressError:
            same = False
        if not same:
            return bare
    return ""


def _default(submission: Submission, directory: Directory) -> Origin | Refusal:
    address = submission.mail_from
    if address is not None:
        sender = directory.sender_for(submission.account_id, address)
        if sender is None:
            return _not_allowed(address, "MAIL FROM")
        return Origin(sender, address, None)
    sender = directory.default_sender(submission.account_id)
    if sender is None:
        return _refused(
            "The message has no From field and the account no default sender: write a From field"
        )
    return Origin(sender, sender.address, None)


def _other(raw: bytes, label: str, account_id: int, directory: Directory) -> Refusal | None:
    read = _read(raw, label)
    if isinstance(read, Refusal):
        return read
    for mailbox in read:
        if directory.sender_for(account_id, mailbox.address) is None:
            return _not_allowed(mailbox.address, label)
    return None


def _read(raw: bytes, label: str) -> tuple[Mailbox, ...] | Refusal:
    """The mailboxes of a field, none of which shows another identity than its own."""
    return _kept(raw, label) if len(raw) <= KEPT_OCTETS else _checked(raw, label)


def _checked(raw: bytes, label: str) -> tuple[Mailbox, ...] | Refusal:
    try:
        mailboxes = mailbox_list(unfolded(raw))
    except NonAsciiLocalPart as error:
        return Refusal(
            Reason.NOT_ASCII, f"{label}: {error.public}, which cannot be sent: use an ASCII address"
        )
    except AddressError as error:
        return _refused(
            f"The {label} field cannot be read ({error.public}): write {label}: Name <user@domain>"
        )
    for mailbox in mailboxes:
        # Many readers decode what looks like an encoded word in quotes, too.
        for shown in (mailbox.name, words.decode(mailbox.name), *mailbox.comments):
            if shown.isascii() and shown.isprintable() and "@" not in shown:
                continue
            if _CONTROL.search(shown):
                return _refused(f"The name in {label} holds a control character: take it out")
            other = foreign(shown, mailbox.address)
            if other:
                return _refused(
                    f"The name in {label} shows the address {printable(other, 80)}, but the mail is"
                    f" from {mailbox.address}: take it out of the name"
                )
    return tuple(mailboxes)


_kept = functools.lru_cache(KEPT_VALUES)(_checked)


def _not_allowed(address: Address, place: str) -> Refusal:
    return _refused(
        f"{address} in {place} is not a sender that this account may use:"
        " send from one that is, or have it added"
    )


def _refused(text: str) -> Refusal:
    return Refusal(Reason.SENDER, text)
