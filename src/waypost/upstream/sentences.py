"""A reply code in plain words: what it means for the one who waits, and what to do about it.

One pure table, read in this order: words that providers use, enhanced status codes (RFC 3463 and
the IANA registry of them), their class and subject, basic codes (RFC 5321 4.2.3, 4954 6, 7504),
and at last the first digit. Every code from 200 to 599 has a sentence. Knows nothing of what
delivery decides, and does not know who reads it.
"""

from __future__ import annotations

import re
from types import MappingProxyType

import msgspec

from waypost.core.reply import ENHANCED


class Sentence(msgspec.Struct, frozen=True):
    """`says`: what happened. `do`: what to do about it; may be that nothing is to be done."""

    says: str
    do: str


def _row(says: str, do: str) -> Sentence:
    return Sentence(says, do)


_WAIT = "Nothing is to be done: it is tried again by itself."
_ADDRESS = "Correct the address, or take it off your list."
_OTHER_WAY = "Reach the recipient another way, or ask whoever runs the recipient's mail."
_OWNER = "Ask whoever runs the upstream, with the words below."

_NO_MAILBOX = _row("There is no such mailbox at the recipient's domain.", _ADDRESS)
_NO_DOMAIN = _row("The recipient's domain takes no mail, or does not exist.", _ADDRESS)
_FULL = _row(
    "The recipient's mailbox is full.",
    "Wait; if it stays so, reach the recipient another way.",
)
_TOO_LARGE = _row(
    "The message is larger than this server takes.",
    "Make it smaller, or put attachments behind a link.",
)
_LOGIN = _row(
    "The upstream did not accept the login.",
    "Open the integration, enter the user name and password again, and test it. Many providers "
    "want an app password.",
)
_AS = _row(
    "The upstream does not let this login send as this address.",
    "Let the login send as the address at the provider, or bind the sender to the upstream that "
    "it belongs to.",
)
_QUOTA = _row(
    "The upstream's sending limit is reached.",
    "Wait: mail goes on when the provider's limit starts anew. Set a daily cap below it, or use "
    "an upstream with a higher one.",
)
_SLOW = _row(
    "The upstream asks for mail to come more slowly.",
    "Nothing is to be done now. If it happens often, lower the connections or the messages a "
    "minute of the integration.",
)
_SPAM = _row(
    "The other server took the message for spam or unwanted mail.",
    "Check SPF, DKIM and DMARC of the sender's domain (Domain), and look at the content and at "
    "who is on the list.",
)
_BLOCKED = _row(
    "The other server refuses mail from the address that it came from.",
    "See the link in its words for why it is listed, and ask the provider to have it removed.",
)
_POLICY = _row(
    "The other server's rules do not allow this message.",
    "Read its words: they often name the rule. Check SPF, DKIM and DMARC of the sender's domain "
    "(Domain).",
)
_GREY = _row(
    "The other server puts off mail from senders that it does not know yet (greylisting).", _WAIT
)
_TLS = _row(
    "The other server wants encryption that was not used.",
    "Set the integration's encryption to starttls or tls, and test it.",
)
_PROVE = _row(
    "The sender's domain could not be proved (SPF, DKIM or DMARC).",
    "Open Domain, publish the records it shows, and check again.",
)

_WORDS: tuple[tuple[re.Pattern[str], Sentence], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), sentence)
    for pattern, sentence in (
        # Our own words, where no reply was heard (code 0).
        (
            r"^cancelled by",
            _row("It was cancelled before it was sent.", "Use “send again” if it was a mistake."),
        ),
        (
            r"^uncertain|lost after the final dot",
            _row(
                "The connection was lost after the message was handed over: nobody knows whether "
                "it was taken.",
                "Ask the recipient whether it came before you send it again: a copy may have been "
                "sent.",
            ),
        ),
        (
            r"no answer in time|closed the connection|ended the session|connection (was )?lost",
            _row(
                "The upstream fell silent or ended the connection.",
                "Nothing is to be done now. If it stays so, test the integration.",
            ),
        ),
        (r"(sender|upstream) .{0,80} was removed", _row(
            "The sender or upstream that it waited for was removed.",
            "Send it again from a sender that is there.",
        )),
        (
            r"not (delivered|sent) within|gave up|too long in the queue|held too long",
            _row(
                "It could not be sent for as long as it is tried.",
                "See the attempts for why; mend that, then send it again.",
            ),
        ),
        # Words of providers.
        (r"SendAsDenied|SendOnBehalf\w*Denied|permissions? to send as|not owned by user", _AS),
        (r"(address|identit\w+) (is|are|was) not verified|unverified (sender|identity)", _AS),
        (r"basic authentication is|SmtpClientAuthentication is disabled|\b5\.7\.139\b", _row(
            "The provider has switched off logins with a password for this mailbox.",
            "Connect the integration with Microsoft (OAuth), or have the administrator turn on "
            "“Authenticated SMTP” for the mailbox.",
        )),
        (r"app(lication)?-specific password|InvalidSecondFactor", _row(
            "The provider wants an app password for this login.",
            "Make an app password at the provider and enter it in the integration.",
        )),
        (r"SubmissionQuotaExceeded|daily .{0,30}(limit|quota)|(sending|message) (limit|quota)",
         _QUOTA),
        (r"unusual sending activity", _QUOTA),
        (r"throttl|maximum sending rate|rate limit|too many (connections|sessions|messages)",
         _SLOW),
        (r"gr[ae]y-?list", _GREY),
        (r"(mailbox|quota|storage).{0,30}(full|exceeded)|over ?quota|out of storage", _FULL),
        (r"no such (user|mailbox|recipient|person)|user (is )?unknown|unknown (user|recipient)"
         r"|(mailbox|recipient|account|address).{0,30}(not found|does not exist|doesn't exist)"
         r"|does not exist|invalid (mailbox|recipient)", _NO_MAILBOX),
        (r"spamhaus|barracuda|block ?list|black ?list|blocklisted|\bRBL\b|\bDNSBL\b|reputation",
         _BLOCKED),
        (r"\bspam\b|unsolicited|junk mail", _SPAM),
        (r"\bdmarc\b|\bspf\b|\bdkim\b|unauthenticated (email|mail)", _PROVE),
        (r"relay(ing)? (access )?(is )?(denied|not permitted|prohibited)|not permitted to relay",
         _row(
             "The upstream does not send mail to other domains for this login.",
             "Check that the integration logs in, and that it is the provider's server for "
             "outgoing mail.",
         )),
        (r"(message|size).{0,30}(too (large|big)|exceeds)", _TOO_LARGE),
    )
)  # fmt: skip

_ENHANCED = MappingProxyType(
    {
        "1.1": _NO_MAILBOX,
        "1.2": _NO_DOMAIN,
        "1.3": _row("The recipient's address is not written right.", _ADDRESS),
        "1.4": _row("The recipient's address fits more than one mailbox.", _ADDRESS),
        "1.6": _row("The recipient has moved, and left no new address.", _ADDRESS),
        "1.7": _row("The sender's address is not written right.", "Correct the sender's address."),
        "1.8": _row(
            "The other server does not find the sender's domain.",
            "Check that the sender's domain has MX records (Domain).",
        ),
        "1.10": _NO_DOMAIN,  # RFC 7505: a null MX
        "2.1": _row("The recipient's mailbox is switched off.", _OTHER_WAY),
        "2.2": _FULL,
        "2.3": _TOO_LARGE,
        "2.4": _row("The mailing list behind the address cannot be expanded.", _OTHER_WAY),
        "3.1": _row("The other server's storage is full.", _WAIT),
        "3.2": _row("The other server takes no mail at this moment.", _WAIT),
        "3.3": _row("The other server cannot do what the message needs.", _OWNER),
        "3.4": _TOO_LARGE,
        "3.5": _row("The other server is not set up right.", _OWNER),
        "4.1": _row("The recipient's server does not answer.", _WAIT),
        "4.2": _row("The connection on the way was bad.", _WAIT),
        "4.3": _row("A directory that the other server needs is out of order.", _WAIT),
        "4.4": _row("The other server finds no way to the recipient's domain.", _ADDRESS),
        "4.5": _SLOW,
        "4.6": _row(
            "The message goes round in a loop.",
            "Look for a forwarding that leads back to where it came from.",
        ),
        "4.7": _row(
            "The other server kept it too long without being able to pass it on.", _OTHER_WAY
        ),
        "6.1": _row("The other server does not take this kind of content.", _OTHER_WAY),
        "6.3": _row(
            "The message cannot be carried as it is: the other server takes no 8-bit text.",
            "Encode the message's text as quoted-printable or base64.",
        ),
        "6.7": _row("The address has characters that the other server does not take.", _ADDRESS),
        "6.8": _row("The address has characters that the other server does not take.", _ADDRESS),
        "7.0": _POLICY,
        "7.1": _POLICY,
        "7.2": _row("You may not write to that mailing list.", _OTHER_WAY),
        "7.8": _LOGIN,
        "7.9": _LOGIN,
        "7.10": _TLS,
        "7.11": _TLS,
        "7.12": _LOGIN,
        "7.13": _row("The account at the provider is disabled.", "Ask the provider why."),
        "7.14": _LOGIN,
        "7.20": _PROVE,  # RFC 7372: DKIM
        "7.21": _PROVE,
        "7.22": _PROVE,
        "7.23": _PROVE,  # SPF
        "7.24": _PROVE,
        "7.25": _BLOCKED,  # reverse DNS
        "7.26": _PROVE,
        "7.27": _row(
            "The sender's domain takes no mail itself (null MX), so others take none from it.",
            "Publish an MX record for the sender's domain.",
        ),
        "7.28": _SPAM,  # mail flood
        "7.57": _LOGIN,
        "7.60": _AS,
    }
)

_SUBJECTS = MappingProxyType(
    {
        "1": _row("Something is wrong with an address.", _ADDRESS),
        "2": _row("Something is wrong with the recipient's mailbox.", _OTHER_WAY),
        "3": _row("Something is wrong with the other server.", _OWNER),
        "4": _row("Something is wrong on the way to the recipient's server.", _WAIT),
        "5": _row("The two servers did not understand each other.", _OWNER),
        "6": _row("The other server cannot take the message's content.", _OTHER_WAY),
        "7": _POLICY,
    }
)

_UNDERSTOOD = _row(
    "The other server did not understand what was said, or not at that point.", _OWNER
)
_BASIC = MappingProxyType(
    {
        421: _row("The other server is busy or closing, and ended the connection.", _WAIT),
        432: _row("Too many connections to this mailbox at once.", _SLOW.do),
        450: _row("The recipient's mailbox is busy, or mail is put off.", _WAIT),
        451: _row("The other server has trouble of its own for the moment.", _WAIT),
        452: _row("The other server has no room, or takes no more recipients now.", _WAIT),
        454: _row("The other server cannot do that for the moment.", _WAIT),
        455: _row("The other server cannot do that for the moment.", _WAIT),
        **dict.fromkeys((500, 501, 502, 503, 504, 555), _UNDERSTOOD),
        521: _NO_DOMAIN,  # RFC 7504
        523: _TOO_LARGE,
        530: _LOGIN,
        534: _LOGIN,
        535: _LOGIN,
        538: _TLS,
        541: _SPAM,
        550: _row(
            "The other server refused the recipient or the message.",
            "Read its words: most often there is no such mailbox, or its rules do not allow the "
            "message.",
        ),
        551: _row("The recipient is not at this server any more.", _ADDRESS),
        552: _row("The mailbox is full, or the message too large.", "Make the message smaller."),
        553: _row("An address is not allowed, or not written right.", _ADDRESS),
        554: _row(
            "The other server refused the message.",
            "Read its words; check SPF, DKIM and DMARC of the sender's domain (Domain).",
        ),
        556: _NO_DOMAIN,
    }
)

_CLASSES = MappingProxyType(
    {
        2: _row("The upstream took the message for this recipient.", "Nothing is to be done."),
        3: _row("The upstream waits for more.", "Nothing is to be done."),
        4: _row("The other server put it off.", _WAIT),
        5: _row("The other server refused it.", "Read its words below for the reason."),
    }
)
_SILENT = _row(
    "The upstream gave no answer to this recipient.",
    "Nothing is to be done now. If it stays so, test the integration.",
)
_UNREACHED = _row(
    "The upstream's server could not be reached.",
    "Nothing is to be done now. If it stays so, test the integration: it says what is in the way.",
)
_NO_WAY = re.compile(
    r"^(connection (refused|timed out|reset by peer)|no route to host|no address for"
    r"|(network|host) is (unreachable|down)|(name|node).{0,20}not known|.{0,40}name resolution)",
    re.IGNORECASE,
)
"""What an operating system says of a connection that was not made."""


def explain(code: int, text: str) -> Sentence:
    """The sentence for a reply: its basic code (0 where none was heard) and its words."""
    if code // 100 in (2, 3):
        return _CLASSES[code // 100]
    if not code and _NO_WAY.search(text):
        return _UNREACHED
    for pattern, sentence in _WORDS:
        if pattern.search(text):
            return sentence
    found = ENHANCED.match(text)
    if found is not None:
        _, subject, detail = found.group(1).split(".")
        exact = _ENHANCED.get(f"{int(subject)}.{int(detail)}")
        known = exact or _SUBJECTS.get(str(int(subject)))
        if known is not None:
            return known
    return _BASIC.get(code) or _CLASSES.get(code // 100) or _SILENT
