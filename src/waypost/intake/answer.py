"""What a client is told over SMTP: one line of printable ASCII, at most 512 octets with its CR LF.

Promises the words of the one table in core/verdict and the form `250 OK: <id>`, `250 queued:
<id>`. Knows nothing of how the outcome came about.
"""

from __future__ import annotations

from waypost.core import ident
from waypost.core.reply import ENHANCED, printable
from waypost.core.verdict import ANSWER_OCTETS, Reason, Refusal, Settled

LINE_OCTETS = ANSWER_OCTETS - 2  # without CR LF
UNKNOWN = "5.0.0"  # RFC 3463 2: a permanent failure of which nothing more is known

_REASONS = {
    "5.1.3": Reason.ADDRESS,
    "5.6.7": Reason.NOT_ASCII,
    "5.3.4": Reason.TOO_LARGE_DECLARED,
    "5.5.3": Reason.RECIPIENTS,
    "4.5.3": Reason.RECIPIENTS,
    "5.7.0": Reason.KEY_UNKNOWN,
    "5.7.11": Reason.KEY_UNKNOWN,
}


def refused(refusal: Refusal) -> str:
    """The reply to a submission that was not accepted."""
    return printable(refusal.smtp_line, LINE_OCTETS)


def settled(outcome: Settled) -> str:
    """The reply to a message that was accepted: what is committed about its recipients."""
    shown = ident.show(outcome.message_id)
    if outcome.queued:
        return f"250 queued: {shown}"
    if outcome.sent:
        return f"250 OK: {shown}"
    words = printable(outcome.words)
    enhanced = outcome.enhanced if outcome.enhanced.startswith("5.") else UNKNOWN
    said = ENHANCED.match(words)
    if said is not None:  # the words of a reply begin with its enhanced code: said once is enough
        words = words[said.end() :].strip()
    if not words:
        words = "refused by the upstream" if outcome.failed else "cancelled"
    return f"550 {enhanced} {words} ({shown})"


def answered(outcome: Refusal | Settled) -> str:
    """The reply to the final dot."""
    return refused(outcome) if isinstance(outcome, Refusal) else settled(outcome)


def reason(line: str) -> Reason:
    """The word in the log for a line that the SMTP machine itself refused with."""
    words = line.split(" ", 2)
    return _REASONS.get(words[1] if len(words) > 1 else "", Reason.MALFORMED)
