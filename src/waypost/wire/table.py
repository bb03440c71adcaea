"""What each command does in each state of a submission session: the whole of it, as one table.

    state       what holds                                        left by
    CLEAR       no TLS: nothing may be said that matters          STARTTLS
    STRANGER    TLS, no EHLO or HELO since the handshake          EHLO, HELO
    GREETED     EHLO or HELO was said, nobody is logged in        AUTH accepted
    READY       logged in, no transaction                         MAIL accepted
    MAIL        MAIL was accepted, no RCPT yet                    RCPT accepted, RSET, EHLO, HELO
    RCPT        at least one RCPT was accepted                    DATA, RSET, EHLO, HELO

An entry is what to do, or the line that answers the command. Knows nothing of syntax.
"""

from __future__ import annotations

import enum


class State(enum.IntEnum):
    """Of a session between commands."""

    CLEAR = 0
    STRANGER = 1
    GREETED = 2
    READY = 3
    MAIL = 4
    RCPT = 5


class Do(enum.IntEnum):
    """What a command sets going."""

    EHLO = 0
    HELO = 1
    STARTTLS = 2
    AUTH = 3
    MAIL = 4
    RCPT = 5
    DATA = 6
    RSET = 7
    QUIT = 8
    END = 9  # the session ends: what follows would be read as commands


OK = "250 OK"
HELP = "214 EHLO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT"
UNVERIFIED = "252 2.5.0 Cannot verify, send the message and see"
NEED_TLS = "530 5.7.0 Must issue a STARTTLS command first"
NEED_TLS_FOR_AUTH = "538 5.7.11 Encryption required for requested authentication mechanism"
NEED_AUTH = "530 5.7.0 Authentication required"
NEED_HELLO = "503 5.5.1 Send EHLO first"
HAVE_TLS = "503 5.5.1 TLS is active already"
HAVE_AUTH = "503 5.5.1 Authenticated already"
NESTED = "503 5.5.1 A transaction is under way, send RSET first"
NEED_MAIL = "503 5.5.1 Send MAIL first"
NEED_RCPT = "503 5.5.1 No recipient was accepted, send RCPT first"
NOT_HERE = "502 5.5.1 Command not implemented"
UNKNOWN = "500 5.5.1 Command not recognized"

NOT_IMPLEMENTED = ("EXPN", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML", "XCLIENT", "XFORWARD")
HTTP = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "PRI")
ENDING = ("BDAT", *HTTP)
OTHER = "?"
"""Stands in the table for every command that is not named in it."""

_CLEAR: dict[str, Do | str] = {
    "EHLO": Do.EHLO,
    "HELO": Do.HELO,
    "STARTTLS": Do.STARTTLS,
    "AUTH": NEED_TLS_FOR_AUTH,
    "MAIL": NEED_TLS,
    "RCPT": NEED_TLS,
    "DATA": NEED_TLS,
    "RSET": Do.RSET,
    "NOOP": OK,
    "HELP": HELP,
    "VRFY": NEED_TLS,
    "QUIT": Do.QUIT,
    **dict.fromkeys(NOT_IMPLEMENTED, NEED_TLS),
    **dict.fromkeys(ENDING, Do.END),
    OTHER: NEED_TLS,
}
_STRANGER: dict[str, Do | str] = _CLEAR | {
    "STARTTLS": HAVE_TLS,
    "AUTH": NEED_HELLO,
    "MAIL": NEED_AUTH,
    "RCPT": NEED_AUTH,
    "DATA": NEED_AUTH,
    "VRFY": UNVERIFIED,
    **dict.fromkeys(NOT_IMPLEMENTED, NOT_HERE),
    OTHER: UNKNOWN,
}
_GREETED: dict[str, Do | str] = _STRANGER | {"AUTH": Do.AUTH}
_READY: dict[str, Do | str] = _STRANGER | {
    "AUTH": HAVE_AUTH,
    "MAIL": Do.MAIL,
    "RCPT": NEED_MAIL,
    "DATA": NEED_MAIL,
}
_MAIL: dict[str, Do | str] = _READY | {"MAIL": NESTED, "RCPT": Do.RCPT, "DATA": NEED_RCPT}
_RCPT: dict[str, Do | str] = _MAIL | {"DATA": Do.DATA}

TABLE: dict[tuple[State, str], Do | str] = {
    (state, verb): entry
    for state, row in (
        (State.CLEAR, _CLEAR),
        (State.STRANGER, _STRANGER),
        (State.GREETED, _GREETED),
        (State.READY, _READY),
        (State.MAIL, _MAIL),
        (State.RCPT, _RCPT),
    )
    for verb, entry in row.items()
}
