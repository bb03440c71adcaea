"""What is said of each diagnosis, in plain words, and what providers mean by their refusals.

Data alone: titles may hold {host}, {port}, {user} and {step}. Texts of replies are those that the
providers send; each row names its source. Knows nothing of how they are chosen.
"""

from __future__ import annotations

import enum
import re
from types import MappingProxyType

import msgspec


class Advice(msgspec.Struct, frozen=True):
    """A title, causes likeliest first, and what to change."""

    title: str
    causes: tuple[str, ...]
    fix: str


class Flaw(enum.Enum):
    """Why a certificate is not trusted."""

    SELF_SIGNED = "self-signed"
    EXPIRED = "expired"
    NOT_YET_VALID = "not valid yet"
    WRONG_NAME = "for another name"
    UNKNOWN_AUTHORITY = "from an unknown authority"
    CHANGED = "another one than was trusted"
    OTHER = "not valid"


HOST_NOT_FOUND = Advice(
    "There is no server named {host}: the name has no address",
    (
        "the host is misspelt",
        "it is a domain's name, and the mail server has another (often smtp. or mail. in front)",
        "the DNS of this machine does not answer",
    ),
    "Correct the host: the provider's help pages show it under SMTP or outgoing server.",
)
ADDRESS_NOT_ALLOWED = Advice(
    "An account's upstream may not be at the address of {host}",
    (
        "the host's address is a private, local or reserved one",
        "the host is misspelt",
    ),
    "Use the provider's public host; the operator can allow networks under [upstreams] in the "
    "configuration (allow_networks).",
)
PORT_NOT_ALLOWED = Advice(
    "An account's upstream may not be at port {port}",
    ("the port is none of those that are open to accounts",),
    "Use port 587 with starttls, or 465 with tls, as the provider says; the operator can allow "
    "ports under [upstreams] in the configuration (ports).",
)
TIMED_OUT = Advice(
    "{host} did not answer on port {port} in time",
    (
        "the port is wrong",
        "a firewall here, at the hosting provider or at the server blocks outgoing SMTP (port 25 "
        "is blocked in most data centres)",
        "the host is wrong",
        "the server is down",
    ),
    "Use port 587 with starttls, or 465 with tls; if neither answers, ask whoever runs this "
    "network whether outgoing SMTP is blocked.",
)
UNREACHABLE = Advice(
    "There is no way from here to {host}",
    (
        "this machine has no network of that kind (an IPv6 address without IPv6, for instance)",
        "a firewall or a missing route stops it",
        "the host is wrong",
    ),
    "Check the host, and whether this machine can reach the internet.",
)
FELL_SILENT = Advice(
    "{host} answered on port {port}, then said nothing more ({step})",
    (
        "the server is overloaded, or makes strangers wait",
        "a firewall lets the connection through and stops what is said on it",
        "the port belongs to another service",
    ),
    "Use port 587 with starttls, or 465 with tls; if both are silent, try again later or ask the "
    "provider.",
)
CONNECTION_REFUSED = Advice(
    "{host} refuses connections on port {port}",
    (
        "the port is wrong",
        "the server is down",
        "the server, or a firewall before it, blocks this machine's address",
    ),
    "Use port 587 with starttls, or 465 with tls; else ask the provider whether the server is up "
    "and whether this machine's address must be allowed.",
)
CLOSED = Advice(
    "{host} took the connection on port {port} and ended it without a greeting",
    (
        "the server blocks this machine's address",
        "the port is wrong, or wants the other encryption",
        "the server is overloaded or restarting",
    ),
    "Check port and encryption; else ask the provider whether this machine's address is blocked.",
)
NOT_SMTP = Advice(
    "What answers at {host} port {port} does not speak SMTP",
    (
        "the port belongs to another service (993 and 143 are for reading mail, 443 is the web)",
        "something in between answers in the place of the server",
    ),
    "Use port 587 with starttls, or 465 with tls.",
)
TLS_TO_PLAIN = Advice(
    "{host} does not speak TLS from the start on port {port}",
    ("encryption is tls, but this port begins in plain text (STARTTLS)",),
    "Set the encryption to starttls, or the port to 465.",
)
PLAIN_TO_TLS = Advice(
    "{host} wants TLS from the start on port {port}",
    ("this port speaks TLS at once, as 465 does, and the encryption is not tls",),
    "Set the encryption to tls, or the port to 587 with starttls.",
)
NO_STARTTLS = Advice(
    "{host} does not offer STARTTLS on port {port}",
    (
        "the server protects another port (465 with tls)",
        "a firewall or virus scanner on the way takes STARTTLS out of the dialogue",
        "the server has no encryption at all",
    ),
    "Use port 465 with tls. Only on a network that you trust: encryption none.",
)
WANTS_STARTTLS = Advice(
    "{host} wants encryption before it lets anybody log in",
    ("the encryption is none, and the server asks for STARTTLS",),
    "Set the encryption to starttls.",
)
TLS_ERROR = Advice(
    "No protected connection with {host} port {port} came about",
    (
        "the server knows only versions of TLS that are not safe any more (before 1.2), or ciphers",
        "the server's TLS is set up wrongly, or out of order",
        "a firewall or virus scanner on the way breaks TLS",
    ),
    "Ask the provider for a host that speaks TLS 1.2 or newer, or try its other port.",
)
CERTIFICATES = MappingProxyType(
    {
        Flaw.SELF_SIGNED: Advice(
            "The certificate of {host} is self-signed: nobody vouches for it",
            ("the server made its own certificate, as private and hosting servers often do",),
            "Set validate to auto, which trusts this very certificate from then on; or install "
            "one from an authority on the server.",
        ),
        Flaw.EXPIRED: Advice(
            "The certificate of {host} has expired",
            ("whoever runs the server has not renewed it", "the clock of this machine is wrong"),
            "Ask the provider to renew it. Until then mail waits; validate off takes any "
            "certificate, and anybody on the way could then read the password.",
        ),
        Flaw.NOT_YET_VALID: Advice(
            "The certificate of {host} is not valid yet",
            ("the clock of this machine is wrong", "the certificate was made for later"),
            "Set this machine's clock; else ask the provider.",
        ),
        Flaw.WRONG_NAME: Advice(
            "The certificate of {host} is for another name",
            (
                "the server goes by another name (with hosting providers often the name of the "
                "machine itself)",
                "the host leads to another server",
            ),
            "Use the name that the certificate is for as the host; or set validate to auto, which "
            "keeps to that name from then on.",
        ),
        Flaw.UNKNOWN_AUTHORITY: Advice(
            "The certificate of {host} comes from an authority that is not known here",
            (
                "the server does not send the certificates in between",
                "the authority is a company's own",
                "something in between, such as a virus scanner, shows its own certificate",
            ),
            "Ask the provider to send the whole chain, or add the authority to the trusted roots "
            "of this machine.",
        ),
        Flaw.CHANGED: Advice(
            "The certificate of {host} is not the one that was trusted",
            (
                "the server was given a new certificate",
                "the host leads to another server, or somebody in between poses as it",
            ),
            "If the provider changed it: `waypost upstream trust NAME`.",
        ),
        Flaw.OTHER: Advice(
            "The certificate of {host} is not valid",
            ("the certificate, or one of its chain, is made wrongly or too weak",),
            "Ask the provider for a certificate that verifies.",
        ),
    }
)
_APP_PASSWORD = Advice(
    "The server wants an app password for {user}",
    (
        "two-step login is on, so that the account's own password does not work here",
        "the app password was typed wrongly or has been revoked",
        "too many wrong passwords were tried: then the right one is refused too, for some hours",
    ),
    "Make an app password in the security settings of the account and use it as the password.",
)
_WRONG_LOGIN = Advice(
    "The server refused user name or password of {user}",
    (
        "the password is wrong",
        "the account has two-step login: an app password is needed in the place of its own",
        "the user name is not what this provider wants",
        "SMTP is switched off for this mailbox",
    ),
    "Type user name and password again; where two-step login is on, make an app password.",
)
_SWITCHED_OFF = Advice(
    "Sending over SMTP with a password is switched off for {user}",
    (
        "SMTP AUTH is off for the mailbox or the whole organisation",
        "the organisation's security defaults forbid logins by password",
    ),
    "An administrator must allow Authenticated SMTP for this mailbox.",
)
_NO_PASSWORDS = Advice(
    "The provider no longer takes passwords for {user}",
    ("logins by password are switched off; only XOAUTH2 is left",),
    "Connect with XOAUTH2: `waypost upstream connect NAME`.",
)
_BLOCKED = Advice(
    "The provider has blocked this login of {user}",
    (
        "the login came from a new place and was taken for an attack",
        "the account is locked or suspended",
        "too many wrong passwords were tried",
    ),
    "Log in at the provider's web mail, answer its security questions, then test again.",
)
LOGIN_REFUSED = _WRONG_LOGIN
LOGIN_LATER = Advice(
    "The server could not check the login of {user} now",
    (
        "the provider has a disturbance",
        "the account is blocked for a while after wrong passwords",
    ),
    "Test again in some minutes; if it stays so, check user name and password.",
)
LOGIN_UNANSWERED = Advice(
    "The server did not answer the login of {user}",
    (
        "user name or password are wrong, and the server does not say so",
        "the server makes this address wait after wrong passwords",
        "the server has a disturbance",
    ),
    "Type user name and password again; then test again in some minutes.",
)
NO_TOKEN = Advice(
    "There is no token to log in as {user} with",
    (
        "it has not been connected yet, or the consent was withdrawn or has ended",
        "the password of the account was changed, which ends its consents",
        "the application's secret has ended, or its rights were changed",
        "the provider's token server cannot be reached from here",
    ),
    "Connect it again with `waypost upstream connect`; where the token server is away, wait.",
)
NO_LOGIN = Advice(
    "The server offers no way to log in that a password fits",
    (
        "the provider takes XOAUTH2 alone",
        "SMTP login is switched off on this port (25 is for mail between servers)",
    ),
    "Use port 587 with starttls, or 465 with tls; where only XOAUTH2 is offered, connect with it.",
)
LOGINS = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        # google: support.google.com/a/answer/3726730. Yahoo's AUTH005 speaks of too many tries, and
        # is its answer to the first one with the account's own password: help.yahoo.com SLN15241
        (r"application-specific password|app(-specific)? password|#AUTH005", _APP_PASSWORD),
        # microsoft: aka.ms/smtp_auth_disabled and "5.7.139"
        (r"SmtpClientAuthentication is disabled|smtp_auth_disabled", _SWITCHED_OFF),
        (r"security defaults|did not meet the criteria|conditional access", _SWITCHED_OFF),
        (r"basic authentication is (disabled|not supported)|\b5\.7\.30\b", _NO_PASSWORDS),
        # google 534 5.7.14; zoho "Access Restricted"
        (r"log ?in (via|with) your (web )?browser|web login required|\b534\b", _BLOCKED),
        (
            r"too many (bad|failed|invalid|wrong)|(account|user|login) .{0,20}(locked|blocked|"
            r"disabled|suspended)|locked|suspicious|access restricted|unusual",
            _BLOCKED,
        ),
    )
)
SENDER_REJECTED = Advice(
    "The login may not send as this sender",
    (
        "the sender is neither the account of the login nor one of its aliases",
        "the provider has not verified the sender's address or domain",
        "the mailbox lacks the right to send as this address",
    ),
    "Use the account's own address as the sender, or have the provider verify this one or allow "
    "it as an alias.",
)
TURNED_AWAY = Advice(
    "{host} turned us away before anything was said",
    (
        "the server blocks this machine's address (a block list, or a network of home addresses)",
        "too many connections at once",
        "the port is for mail between servers, not for submission",
    ),
    "Use port 587 or 465; look this machine's address up in the usual block lists, and ask the "
    "provider to let it in.",
)
LIMITED = Advice(
    "The provider's limit is reached ({step})",
    (
        "the account has sent as much as it may for now",
        "too many connections or logins in a short time",
    ),
    "Wait until the limit is over (a day at most), and set the daily cap and the messages a "
    "minute below the provider's limits.",
)
ACCOUNT_BLOCKED = Advice(
    "The provider has blocked sending for {user}",
    ("the account is suspended, or was taken for a source of spam",),
    "Log in at the provider and follow what it says of the account.",
)
MAIL_REFUSED = Advice(
    "The login works, but the test mail was refused",
    (
        "the recipient does not exist or takes no mail from here",
        "the server took the mail for unwanted",
    ),
    "Send the test mail to another address.",
)
REJECTED = Advice(
    "The server refused to go on ({step})",
    (
        "the server blocks this machine's address or the name it says",
        "the server has a disturbance",
    ),
    "Test again later; if it stays so, show the provider the transcript.",
)
