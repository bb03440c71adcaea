"""Who a message goes to: the distinct addresses of RCPT TO and of To, Cc and Bcc, or of RCPT TO
alone.

RCPT comes first, in its order; then what only the header names, in the order To, Cc, Bcc. An
address that cannot be read refuses the message: skipped, it would be lost without a word. Knows
nothing of senders, credits or repeats.
"""

from __future__ import annotations

from waypost.core.errors import AddressError, NonAsciiLocalPart
from waypost.core.message import Addressee, Submission
from waypost.core.reply import printable
from waypost.core.verdict import Reason, Refusal
from waypost.policy.grammar import address_list
from waypost.policy.header import Fields, unfolded

_NAMED = ((b"to", "To"), (b"cc", "Cc"), (b"bcc", "Bcc"))


def find(
    fields: Fields, submission: Submission, envelope_only: bool, limit: int
) -> tuple[Addressee, ...] | Refusal:
    """From 1 to `limit` addressees; ADDRESS, NOT_ASCII or RECIPIENTS where that cannot be.

    Reading ends at the first address past the limit.
    """
    found: dict[str, Addressee] = {}
    for address in submission.rcpt_to:
        found.setdefault(address.key, Addressee(address, False))
    if not envelope_only and len(found) <= limit:
        refused = _headers(fields, found, limit)
        if refused is not None:
            return refused
    if not found:
        return Refusal(
            Reason.RECIPIENTS, "The message has no recipient: name one in RCPT TO, To, Cc or Bcc"
        )
    if len(found) > limit:
        return Refusal(
            Reason.RECIPIENTS,
            f"The message has more than {limit} recipients: send it in several messages",
        )
    return tuple(found.values())


def _headers(fields: Fields, found: dict[str, Addressee], limit: int) -> Refusal | None:
    for name, label in _NAMED:
        for value in fields.named(name):
            try:
                for address in address_list(unfolded(value)):
                    key = address.key
                    if key not in found:
                        found[key] = Addressee(address, True)
                        if len(found) > limit:
                            return None
            except NonAsciiLocalPart as error:
                return Refusal(
                    Reason.NOT_ASCII,
                    f"{label}: {error.public}, which cannot be sent: use an ASCII address",
                )
            except AddressError as error:
                return Refusal(
                    Reason.ADDRESS,
                    f"An address in {label} cannot be read ({printable(error.public, 200)}):"
                    " correct it, nobody was sent the message",
                )
    return None
