"""The JSON of a call: its shape, and which field is wrong where it has another.

Promises that what is not of the shape is refused by name, unknown fields too (a mistyped `bcc`
would lose mail without a word), at a cost bounded by the octets of the body. Of a name given twice
the last counts. Knows nothing of what the fields mean.
"""

from __future__ import annotations

import json
import re
from typing import TypeVar

import msgspec

from waypost.core.verdict import Reason, Refusal

BATCH_MESSAGES = 100  # section 8 of the contract

_PLACE = re.compile(r"\$\.([A-Za-z]+)")
_NAMED = re.compile(r"field `([^`]{1,64})`")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ODD = re.compile(r"[^\x20-\x7e]+")

Many = str | list[str] | None


class Refused(Exception):
    """The call is not accepted: why, and the top-level field at fault where there is one."""

    def __init__(self, refusal: Refusal, field: str = "") -> None:
        super().__init__(refusal.text)
        self.refusal = refusal
        self.field = field
        self.sender = ""  # who it would have been from, for the log
        self.to: tuple[str, ...] = ()  # and to, as it was written


def wrong(text: str, field: str = "", reason: Reason = Reason.MALFORMED) -> Refused:
    """A refusal of these words."""
    return Refused(Refusal(reason, text), field)


class Attachment(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A file; `content` is base64 in JSON. With `content_id` it belongs to the HTML part."""

    filename: str
    content: bytes
    content_type: str | None = None
    content_id: str | None = None


class Draft(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """One message as an application writes it."""

    to: str | list[str]
    cc: Many = None
    bcc: Many = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    sender: str | None = msgspec.field(name="from", default=None)
    from_name: str | None = None
    reply_to: str | None = None
    headers: dict[str, str] | None = None
    attachments: list[Attachment] | None = None
    send_at: str | None = None


def everyone(said: Draft) -> tuple[str, ...]:
    """Whom it names, as written."""
    fields = (said.to, said.cc, said.bcc)
    return tuple(text for one in fields for text in ([one] if isinstance(one, str) else one or ()))


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Several, each read on its own."""

    messages: list[msgspec.Raw]


T = TypeVar("T")
DRAFT = msgspec.json.Decoder(Draft)
BATCH = msgspec.json.Decoder(Batch | list[msgspec.Raw])


def read(
    octets: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], what: str = "every message"
) -> T:
    """The value, or `Refused` naming the field; `what` needs those that are missing."""
    try:
        return decoder.decode(octets)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error), what) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        field = _surrogate_in(bytes(octets))
        if field:
            raise wrong(
                f"{field} holds half of a character (an unpaired surrogate): write it whole", field
            ) from None
        raise wrong("The body is not JSON: check its quotes and commas, in UTF-8") from None


def messages(batch: Batch | list[msgspec.Raw]) -> list[msgspec.Raw]:
    """The messages of a batch, 1 to 100."""
    found = batch.messages if isinstance(batch, Batch) else batch
    if not 1 <= len(found) <= BATCH_MESSAGES:
        raise wrong(
            f"A batch holds 1 to {BATCH_MESSAGES} messages, this one {len(found)}: split it",
            "messages",
        )
    return found


def _misshapen(said: str, what: str) -> Refused:
    place = _PLACE.search(said) or _NAMED.search(said)
    field = place[1] if place else ""
    if "unknown field" in said:
        return wrong(f"There is no field {_shown(field)}: see /docs for those there are", field)
    if "missing required" in said and "$" not in said:
        return wrong(f"{field} is missing: {what} needs it", field)
    return wrong(f"The body has another shape than expected: {_shown(said)}", field)


def _shown(text: str) -> str:
    return _ODD.sub("?", text)[:200]


def _surrogate_in(octets: bytes) -> str:
    """The field that holds an unpaired surrogate, the one thing JSON allows and UTF-8 does not."""
    if b"\\u" not in octets:
        return ""
    try:
        read = json.loads(octets)
    except (ValueError, RecursionError):
        return ""
    if isinstance(read, list):  # a batch
        read = {"messages": read}
    if not isinstance(read, dict):
        return ""
    for name, value in read.items():
        if _SURROGATE.search(json.dumps(value, ensure_ascii=False)) or _SURROGATE.search(name):
            return _shown(name)
    return ""
