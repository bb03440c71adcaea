"""The verdict on a submission: facts in, an acceptance ready to be committed or a refusal out.

Promises that a refusal names what is wrong and what to do, and that an acceptance holds one sender
that the account may use, 1 to `recipients` distinct addressees, and a head as it goes out. Credits,
rates, caps and repeats are decided by the transaction that commits. Knows nothing of sessions,
stores or answers' codes.
"""

from __future__ import annotations

import mmap
import re

import msgspec

from waypost.core.facts import Directory, RecipientsFrom
from waypost.core.message import Acceptance, SpoolPart, Submission
from waypost.core.verdict import Reason, Refusal
from waypost.policy import header, recipients, rewrite, sender, size, words
from waypost.policy.header import Fields
from waypost.policy.line_ends import Flags

SUBJECT_CHARACTERS = 988  # what fits a line of 998 after the name (RFC 5322 2.1.1)
MESSAGE_ID_OCTETS = 998  # RFC 5322 2.1.1; a longer one marks no repeats
_SUBJECT_READ = 32_768  # 988 characters as encoded words are no longer
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\ud800-\udfff]+")
_CLEAN = Flags()


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The configured limits. Sizes in octets; `received`: full or private; `bare_newline`: mend or
    refuse.
    """

    hostname: str
    recipients: int = 100
    message_bytes: int = 31_457_280
    body_bytes: int = 10_485_760
    received: str = "full"
    bare_newline: str = "mend"
    rate_per_minute: int = 120
    repeat_window_ms: int = 86_400_000


class Stamp(msgspec.Struct, frozen=True):
    """The id that the message gets if it is accepted, and the time."""

    id: int
    now_ms: int


def judge(
    submission: Submission,
    directory: Directory,
    rules: Rules,
    stamp: Stamp,
    body: bytes | mmap.mmap | None = None,
    flags: Flags = _CLEAN,
) -> Acceptance | Refusal:
    """The verdict. `body`: the whole spool file of a spooled rest, where `needs_body` asks for it.

    Raises `ValueError` where it asks and there is none.
    """
    content = submission.content
    refused = (
        key_refusal(directory, submission.account_id, submission.key_id)
        or _octets_refusal(submission, rules, flags)
    )  # fmt: skip
    if refused is not None:
        return refused
    fields = header.scan(content.head)
    if isinstance(fields, Refusal):
        return fields
    refused = header.loop(fields, rules.hostname) or _text_refusal(submission, rules, body)
    if refused is not None:
        return refused
    origin = sender.find(fields, submission, directory)
    if isinstance(origin, Refusal):
        return origin
    envelope = submission.again or _envelope_only(directory, submission.key_id)
    addressees = recipients.find(fields, submission, envelope, rules.recipients)
    if isinstance(addressees, Refusal):
        return addressees
    trace = rewrite.Trace(rules.hostname, stamp.id, stamp.now_ms, rules.received == "private")
    own_id, sent_id = _message_ids(fields, trace)
    return Acceptance(
        id=stamp.id,
        generation=directory.generation,
        channel=submission.channel,
        account_id=submission.account_id,
        key_id=submission.key_id,
        peer=submission.peer,
        sender_id=origin.sender.id,
        upstream_id=origin.sender.upstream_id,
        envelope_from=origin.sender.address,
        subject=_subject(fields),
        message_id="" if submission.again else own_id,
        smtp_message_id=sent_id,
        null_sender=submission.mail_from is None,
        addressees=addressees,
        head=rewrite.head(fields, submission, trace, origin.address, origin.mailbox),
        rest=content.rest,
        raw_octets=content.raw_octets,
        digest=content.digest,
        eight_bit=content.eight_bit,
        rate_per_minute=rate_per_minute(directory, rules, submission.account_id),
        repeat_window_ms=rules.repeat_window_ms,
    )


def needs_body(submission: Submission, rules: Rules) -> bool:
    """Whether `judge` must read the spooled rest: it may take half a second, so use a thread."""
    content = submission.content
    return isinstance(content.rest, SpoolPart) and content.raw_octets > rules.body_bytes


def known_at_mail(
    directory: Directory,
    rules: Rules,
    account_id: int,
    key_id: int | None,
    rate_room: int,
    balance: int | None,
) -> Refusal | None:
    """What is known before DATA. `rate_room`: submissions that fit now; `balance` None: nothing to
    keep.
    """
    refused = key_refusal(directory, account_id, key_id)
    if refused is not None:
        return refused
    rate = rate_per_minute(directory, rules, account_id)
    if rate and rate_room <= 0:
        return Refusal(
            Reason.RATE_LIMIT,
            f"More than {rate} messages in a minute with this key: wait and send again",
            retry_after_s=60,
        )
    if balance is not None and balance <= 0:
        return Refusal(
            Reason.NO_CREDITS, "The account has no credits left: add credits, then send again"
        )
    return None


def key_refusal(directory: Directory, account_id: int, key_id: int | None) -> Refusal | None:
    """Why this key (None: the command line) may not send now, or None."""
    account = directory.accounts.get(account_id)
    if account is None:
        return Refusal(Reason.KEY_UNKNOWN, "The account of this key is gone: use another key")
    if key_id is not None:
        key = directory.keys.get(key_id)
        if key is None or key.account_id != account_id:
            return Refusal(Reason.KEY_UNKNOWN, "This key was deleted: use another key")
        if not key.enabled:
            return Refusal(Reason.KEY_DISABLED, "This key is disabled: enable it or use another")
    if not account.enabled:
        return Refusal(Reason.ACCOUNT_DISABLED, "The account is disabled: ask the operator")
    return None


def rate_per_minute(directory: Directory, rules: Rules, account_id: int) -> int:
    """Submissions a minute that each key of the account may have accepted; 0 is no limit."""
    account = directory.accounts.get(account_id)
    if account is None or account.rate_per_minute is None:
        return rules.rate_per_minute
    return account.rate_per_minute


def _envelope_only(directory: Directory, key_id: int | None) -> bool:
    key = directory.keys.get(key_id) if key_id is not None else None
    return key is not None and key.recipients is RecipientsFrom.ENVELOPE


def _octets_refusal(submission: Submission, rules: Rules, flags: Flags) -> Refusal | None:
    if submission.content.raw_octets > rules.message_bytes:
        return Refusal(
            Reason.TOO_LARGE,
            f"The message is larger than {rules.message_bytes} bytes: make it smaller",
        )
    if flags.bare and rules.bare_newline == "refuse":
        return Refusal(
            Reason.BARE_NEWLINE,
            "The message holds a CR or LF on its own: end every line with CR LF",
        )
    if flags.nul:
        return Refusal(
            Reason.MALFORMED,
            "The message holds a NUL byte: send binary data as a base64 attachment",
        )
    return None


def _text_refusal(
    submission: Submission, rules: Rules, body: bytes | mmap.mmap | None
) -> Refusal | None:
    content = submission.content
    if content.raw_octets <= rules.body_bytes:
        return None
    if isinstance(content.rest, bytes):
        octets = size.text_octets(content.head, content.rest, 0, rules.body_bytes)
    elif body is None:
        raise ValueError("the spooled rest of a large message is needed to judge it")
    else:
        octets = size.text_octets(content.head, body, content.rest.offset, rules.body_bytes)
    if octets <= rules.body_bytes:
        return None
    return Refusal(
        Reason.TOO_LARGE,
        f"The text of the message is larger than {rules.body_bytes} bytes: attach it instead",
    )


def _subject(fields: Fields) -> str:
    """The first Subject as a log may show it: decoded, one line, no control characters."""
    subjects = fields.named(b"subject")
    if not subjects:
        return ""
    text = words.decode(header.unfolded(subjects[0])[:_SUBJECT_READ].strip())
    if not (text.isascii() and text.isprintable()):
        text = _CONTROL.sub(" ", text).strip()
    return text[:SUBJECT_CHARACTERS]


def _message_ids(fields: Fields, trace: rewrite.Trace) -> tuple[str, str]:
    """The client's own Message-ID (empty: none that marks repeats), and the one that goes out."""
    message_ids = fields.named(b"message-id")
    if not message_ids:
        return "", rewrite.made_message_id(trace)
    text = header.unfolded(message_ids[0])
    if not text.isprintable():
        text = _CONTROL.sub("", text)
    text = text.strip().strip("<>").strip()
    return text if len(text) <= MESSAGE_ID_OCTETS else "", text[:MESSAGE_ID_OCTETS]
