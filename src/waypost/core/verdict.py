"""What became of a submission, and the one table that says it on both channels.

A `Refusal` was refused before it was accepted: nothing is charged. An accepted one is answered from
the state of its recipients. SMTP and HTTP read the same row.
"""

from __future__ import annotations

import enum

import msgspec

ANSWER_OCTETS = 512  # RFC 5321 4.5.3.1.5, with the code and CR LF


class Reason(enum.Enum):
    """Why a submission was refused. The value is the word in the log of refusals."""

    RATE_LIMIT = "rate_limit"
    NO_CREDITS = "no_credits"
    ACCOUNT_DISABLED = "account_disabled"
    KEY_UNKNOWN = "key_unknown"
    KEY_DISABLED = "key_disabled"
    SENDER = "sender_not_allowed"
    ADDRESS = "address"
    RECIPIENTS = "recipients"
    MALFORMED = "malformed"
    BARE_NEWLINE = "bare_newline"
    LOOP = "loop"
    CANNOT_CARRY = "cannot_carry"
    NOT_ASCII = "not_ascii"
    TOO_LARGE_DECLARED = "too_large_declared"
    TOO_LARGE = "too_large"
    OVER_CAP = "over_cap"
    SESSIONS = "too_many_sessions"
    FULL = "disk_or_memory_full"
    TROUBLE = "trouble"


class Row(msgspec.Struct, frozen=True):
    """How a reason is said: SMTP code and enhanced code, whether the session ends, HTTP status
    and word."""

    smtp: int
    enhanced: str
    ends_session: bool
    http: int
    word: str


TABLE: dict[Reason, Row] = {
    Reason.RATE_LIMIT: Row(421, "4.7.0", True, 429, "RATE_LIMITED"),
    Reason.NO_CREDITS: Row(451, "4.7.1", False, 402, "INSUFFICIENT_CREDITS"),
    Reason.ACCOUNT_DISABLED: Row(421, "4.7.0", True, 403, "KEY_DISABLED"),
    Reason.KEY_UNKNOWN: Row(421, "4.7.0", True, 401, "UNAUTHORIZED"),
    Reason.KEY_DISABLED: Row(421, "4.7.0", True, 403, "KEY_DISABLED"),
    Reason.SENDER: Row(550, "5.7.1", False, 400, "SENDER_NOT_ALLOWED"),
    Reason.ADDRESS: Row(550, "5.1.3", False, 400, "INVALID_ADDRESS"),
    Reason.RECIPIENTS: Row(550, "5.5.3", False, 400, "INVALID_REQUEST"),
    Reason.MALFORMED: Row(550, "5.6.0", False, 400, "INVALID_REQUEST"),
    Reason.BARE_NEWLINE: Row(550, "5.6.11", False, 400, "INVALID_REQUEST"),
    Reason.LOOP: Row(550, "5.4.6", False, 400, "INVALID_REQUEST"),
    Reason.CANNOT_CARRY: Row(550, "5.6.3", False, 400, "INVALID_REQUEST"),
    Reason.NOT_ASCII: Row(550, "5.6.7", False, 400, "INVALID_ADDRESS"),
    Reason.TOO_LARGE_DECLARED: Row(552, "5.3.4", False, 413, "TOO_LARGE"),
    Reason.TOO_LARGE: Row(550, "5.3.4", False, 413, "TOO_LARGE"),
    Reason.OVER_CAP: Row(550, "5.7.1", False, 400, "INVALID_REQUEST"),
    Reason.SESSIONS: Row(421, "4.3.2", True, 503, "UNAVAILABLE"),
    Reason.FULL: Row(452, "4.3.1", False, 503, "UNAVAILABLE"),
    Reason.TROUBLE: Row(451, "4.3.0", False, 503, "UNAVAILABLE"),
}
"""Section 7 of the contract. At AUTH a key that is unknown, disabled or of a disabled account is
535 5.7.8 instead (`AUTH_REFUSED`): these rows are for a session that is open already."""

AUTH_REFUSED = (535, "5.7.8")
AUTH_AWAY = (454, "4.7.0")


class Refusal(msgspec.Struct, frozen=True):
    """A submission that was not accepted. `text`: plain words, what is wrong and what to do; no
    secrets."""

    reason: Reason
    text: str
    retry_after_s: int | None = None

    @property
    def row(self) -> Row:
        return TABLE[self.reason]

    @property
    def smtp_line(self) -> str:
        """The reply without CR LF: one line of at most 510 octets of printable ASCII."""
        row = self.row
        line = f"{row.smtp} {row.enhanced} {self.text}"
        return line.encode("ascii", "replace").decode()[: ANSWER_OCTETS - 2]

    @property
    def http_line(self) -> str:
        """The same as the log of refusals tells what was answered over HTTP."""
        return f"{self.row.http} {self.row.word} {self.text}"


class Settled(msgspec.Struct, frozen=True):
    """What is known of an accepted message when its client is answered; committed before it is
    said.

    Counts are of recipients by state. `code`, `enhanced`, `words`: the upstream's reply for the
    first refused recipient in RCPT order, where all were refused. `hint`, `next_at_ms`: why it
    waits and when it is tried next, where any is left queued.
    """

    message_id: int
    queued: int
    sent: int
    failed: int
    cancelled: int = 0
    code: int = 0
    enhanced: str = ""
    words: str = ""
    hint: str = ""
    next_at_ms: int = 0
