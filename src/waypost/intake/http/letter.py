"""From a draft to a letter: every field checked, addresses read, limits held.

Promises that nothing in a letter can end a header line, that only a sender of the account is its
From, and that a refusal names the field. Knows nothing of MIME and of how a letter is written.
"""

from __future__ import annotations

import mimetypes
import re
from posixpath import splitext

import msgspec

from waypost.core.address import Address
from waypost.core.errors import AddressError, NonAsciiLocalPart
from waypost.core.facts import Directory
from waypost.core.verdict import Reason
from waypost.intake.http.draft import Attachment, Draft, Many, wrong
from waypost.policy.grammar import Mailbox, mailbox_list

SUBJECT_CHARACTERS = 988  # section 8 of the contract, as the five that follow
NAME_CHARACTERS = 100
REPLY_TO_CHARACTERS = 320
ATTACHMENTS = 10
ATTACHMENT_OCTETS = 15 * 1024 * 1024
TOTAL_OCTETS = 18 * 1024 * 1024
READ_ADDRESSES = 1_000  # as SMTP reads RCPT; fewer are allowed
HEADERS = 100  # real mail has a few of its own
VALUE_CHARACTERS = 10_000
FILENAME_CHARACTERS = 255  # of a file name on the systems there are
CONTENT_ID_CHARACTERS = 250

_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\ud800-\udfff]")
_HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,127}"
_TYPE = re.compile(rf'{_TOKEN}/{_TOKEN}(?: ?; ?{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]{{0,127}}"))*')
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,250}")
_OWNED = frozenset(
    {
        *("from", "sender", "reply-to", "to", "cc", "bcc", "subject", "date", "message-id"),
        *("received", "return-path", "mime-version", "dkim-signature", "delivered-to"),
        "authentication-results",
    }
)
_OWNED_PREFIXES = ("content-", "resent-", "x-waypost-", "arc-")
_TYPES_LENGTH = 255
_NOT_BASE64 = ("multipart/", "message/")  # RFC 2046 5.1 and 5.2.1; attachments are base64
_UNKNOWN_TYPE = "application/octet-stream"


class File(msgspec.Struct):
    """An attachment. `content_id` empty: it stands on its own."""

    filename: str
    content: bytes
    content_type: str
    content_id: str


class Letter(msgspec.Struct):
    """A message that may be written. Pairs: display name, address. `everyone` gets it."""

    sender: Address
    sender_name: str
    to: list[tuple[str, str]]
    cc: list[tuple[str, str]]
    reply_to: list[tuple[str, str]]
    everyone: tuple[Address, ...]
    subject: str
    text: str | None
    html: str | None
    headers: list[tuple[str, str]]
    files: list[File]


def letter(draft: Draft, account_id: int, directory: Directory, body_octets: int) -> Letter:
    """The letter of a draft. Raises `Refused`."""
    sender, name = _sender(draft, account_id, directory)
    to = _mailboxes(draft.to, "to")
    if not to:
        raise wrong("to names nobody: give at least one address", "to", Reason.RECIPIENTS)
    cc, bcc = _mailboxes(draft.cc, "cc"), _mailboxes(draft.bcc, "bcc")
    if draft.text is None and draft.html is None:
        raise wrong("The message has neither text nor html: give at least one", "text")
    subject = (draft.subject or "")[:SUBJECT_CHARACTERS]
    _no_control(draft.subject or "", "subject", "subject")
    reply_to = draft.reply_to or ""
    if len(reply_to) > REPLY_TO_CHARACTERS:
        raise wrong(f"replyTo is longer than {REPLY_TO_CHARACTERS} characters", "replyTo")
    _sizes(draft, body_octets)
    return Letter(
        sender=sender,
        sender_name=name,
        to=_pairs(to),
        cc=_pairs(cc),
        reply_to=_pairs(_mailboxes(reply_to or None, "replyTo")),
        everyone=tuple(mailbox.address for mailbox in (*to, *cc, *bcc)),
        subject=subject,
        text=draft.text,
        html=draft.html,
        headers=_headers(draft.headers or {}),
        files=[_file(found, number) for number, found in enumerate(draft.attachments or ())],
    )


def _sender(draft: Draft, account_id: int, directory: Directory) -> tuple[Address, str]:
    given = draft.from_name
    if given is not None:
        _no_control(given, "fromName", "fromName")
    if draft.sender:
        found = _mailboxes(draft.sender, "from")
        if len(found) != 1:
            raise wrong(
                f"from holds {len(found)} addresses: give exactly one", "from", Reason.SENDER
            )
        address, named = found[0].address, found[0].name
        sender = directory.sender_for(account_id, address)
        if sender is None:
            raise wrong(
                f"{address} is not a sender that this account may use:"
                " send from one that is, or have it added",
                "from",
                Reason.SENDER,
            )
    else:
        sender = directory.default_sender(account_id)
        if sender is None:
            raise wrong(
                "The message names no from and the account has no default sender: give one",
                "from",
                Reason.SENDER,
            )
        address, named = sender.address, ""
    name = given if given is not None else named or sender.from_name
    return address, name[:NAME_CHARACTERS].strip()


def _mailboxes(said: Many, field: str) -> list[Mailbox]:
    texts = ([said] if said.strip(" ") else []) if isinstance(said, str) else said or []
    found: list[Mailbox] = []
    for text in texts:
        _no_control(text, field, field)
        try:
            found += mailbox_list(text)
        except NonAsciiLocalPart as error:
            raise wrong(
                f"{field}: {error.public}, which cannot be sent: use an ASCII address",
                field,
                Reason.NOT_ASCII,
            ) from None
        except AddressError as error:
            raise wrong(
                f"{field} holds an address that cannot be read ({error.public}): write"
                " user@example.com or Name <user@example.com>",
                field,
                Reason.ADDRESS,
            ) from None
        if len(found) > READ_ADDRESSES:
            raise wrong(
                f"{field} holds more than {READ_ADDRESSES} addresses: send several messages",
                field,
                Reason.RECIPIENTS,
            )
    for mailbox in found:
        _no_control(mailbox.name, field, f"a name in {field}")
    return found


def _pairs(found: list[Mailbox]) -> list[tuple[str, str]]:
    return [(mailbox.name.strip(), str(mailbox.address)) for mailbox in found]


def _headers(headers: dict[str, str]) -> list[tuple[str, str]]:
    if len(headers) > HEADERS:
        raise wrong(f"headers holds more than {HEADERS}: send fewer", "headers")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise wrong(
                "headers holds a name that is none: 1 to 76 printable ASCII characters, no colon",
                "headers",
            )
        if name.lower() in _OWNED or name.lower().startswith(_OWNED_PREFIXES):
            raise wrong(
                f"The header {name} is written by the relay: use the field for it, or leave it out",
                "headers",
            )
        _no_control(value, "headers", f"the header {name}")
        if len(value) > VALUE_CHARACTERS:
            raise wrong(
                f"The header {name} is longer than {VALUE_CHARACTERS} characters: make it shorter",
                "headers",
            )
    return list(headers.items())


def _sizes(draft: Draft, body_octets: int) -> None:
    body = sum(len(text.encode("utf-8")) for text in (draft.text, draft.html) if text)
    if body > body_octets:
        raise wrong(
            f"text and html together are larger than {body_octets} bytes: attach what is long",
            "text" if draft.html is None else "html",
            Reason.TOO_LARGE,
        )
    files = draft.attachments or []
    if len(files) > ATTACHMENTS:
        raise wrong(f"More than {ATTACHMENTS} attachments: send fewer", "attachments")
    for number, found in enumerate(files):
        if len(found.content) > ATTACHMENT_OCTETS:
            raise wrong(
                f"attachments[{number}] is larger than {ATTACHMENT_OCTETS} bytes: send a link",
                "attachments",
                Reason.TOO_LARGE,
            )
    if body + sum(len(found.content) for found in files) > TOTAL_OCTETS:
        raise wrong(
            f"Attachments and text together are larger than {TOTAL_OCTETS} bytes: send less",
            "attachments",
            Reason.TOO_LARGE,
        )


def _file(found: Attachment, number: int) -> File:
    place = f"attachments[{number}]"
    _no_control(found.filename, "attachments", f"{place}.filename")
    if not 1 <= len(found.filename) <= FILENAME_CHARACTERS:
        raise wrong(
            f"{place}.filename has {len(found.filename)} characters:"
            f" give 1 to {FILENAME_CHARACTERS}",
            "attachments",
        )
    content_id = found.content_id or ""
    _no_control(content_id, "attachments", f"{place}.contentId")
    if content_id.startswith("<") and content_id.endswith(">"):
        content_id = content_id[1:-1]
    if content_id and not _CONTENT_ID.fullmatch(content_id):
        raise wrong(
            f"{place}.contentId is none: 1 to {CONTENT_ID_CHARACTERS} printable ASCII characters"
            " without blanks and < >",
            "attachments",
        )
    return File(found.filename, found.content, _content_type(found, place), content_id)


def _content_type(found: Attachment, place: str) -> str:
    given = found.content_type
    if not given:
        return _guessed(found.filename)
    _no_control(given, "attachments", f"{place}.contentType")
    if len(given) > _TYPES_LENGTH or not _TYPE.fullmatch(given):
        raise wrong(
            f"{place}.contentType is no media type: write one such as application/pdf",
            "attachments",
        )
    if given.lower().startswith(_NOT_BASE64):
        raise wrong(
            f"{place}.contentType cannot be a message or a multipart: use application/octet-stream",
            "attachments",
        )
    return given


def _guessed(filename: str) -> str:
    """The media type that a file of this name has; of one that is packed, that of any octets.

    Only its ending is asked for: the whole is taken for a URL there, and believed if that is
    `data:type,`.
    """
    kind, packed = mimetypes.MimeTypes().guess_type(f"file{splitext(filename)[1]}")
    return kind if kind and not packed and not kind.startswith(_NOT_BASE64) else _UNKNOWN_TYPE


def _no_control(text: str, field: str, place: str) -> None:
    if not text.isprintable() and _CONTROL.search(text):
        raise wrong(f"{place} holds a line end or another control character: take it out", field)
