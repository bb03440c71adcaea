"""The flags of sendmail as programs pass them, and the exit codes that they expect.

Promises that flags which change nothing here are taken in silence, and that what asks for something
that is not done here is an error. Clusters (`-ti`), attached and separate values (`-fme@x`, `-f
me@x`) are read as getopt reads them. Does not know what the flags are for.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec


class Exit(enum.IntEnum):
    """sysexits.h, the codes that a caller of sendmail knows."""

    OK = 0
    USAGE = 64
    DATA = 65
    NO_USER = 67
    UNAVAILABLE = 69
    TEMPORARY = 75
    NO_PERMISSION = 77
    CONFIG = 78


class Ended(Exception):
    """The call ends with this code and one line."""

    def __init__(self, code: Exit, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Mode(enum.Enum):
    """What is to be done."""

    MESSAGE = "message"
    SESSION = "session"
    QUEUE = "queue"
    HELP = "help"


class Said(msgspec.Struct):
    """What the flags said. `sender` None: not said; empty: `<>`."""

    mode: Mode = Mode.MESSAGE
    recipients: tuple[str, ...] = ()
    sender: str | None = None
    name: str = ""
    from_header: bool = False
    dots: bool = False
    verbose: bool = False


_VALUED = frozenset("ABCFLNORVXbefhopr")
_OPTIONAL = frozenset("dq")  # the value is attached or there is none
_HARMLESS = frozenset("GIUcmnx")


def read(arguments: Sequence[str]) -> Said:
    """Raises `Ended` (USAGE)."""
    said = Said()
    rest = list(arguments)
    recipients: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            recipients += rest
            break
        if word == "--help":
            said.mode = Mode.HELP
        elif word.startswith("--"):
            raise Ended(Exit.USAGE, f"unknown flag {word}")
        elif word.startswith("-") and word != "-":
            _cluster(said, word[1:], rest)
        else:
            recipients.append(word)
    said.recipients = tuple(recipients)
    return said


def _cluster(said: Said, letters: str, rest: list[str]) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in _VALUED:
            if not letters and not rest:
                raise Ended(Exit.USAGE, f"-{letter} lacks its value")
            _valued(said, letter, letters or rest.pop(0))
            return
        if letter in _OPTIONAL:
            if letter == "q":
                said.mode = Mode.QUEUE
            return
        if letter == "t":
            said.from_header = True
        elif letter == "i":
            said.dots = True
        elif letter == "v":
            said.verbose = True
        elif letter not in _HARMLESS:
            raise Ended(Exit.USAGE, f"unknown flag -{letter}")


def _text(value: str) -> str:
    """An argument as text; what is not UTF-8 is taken for Latin-1, as old programs have it."""
    octets = value.encode("utf-8", "surrogateescape")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _valued(said: Said, letter: str, value: str) -> None:
    if letter in "fr":
        said.sender = "" if value == "<>" else value
    elif letter == "F":
        said.name = _text(value)
        if not said.name.isprintable():
            raise Ended(Exit.USAGE, "the name of -F holds a control character")
    elif letter == "o" and value == "i":
        said.dots = True
    elif letter == "b" and value == "s":
        said.mode = Mode.SESSION
    elif letter == "b" and value != "m":
        raise Ended(Exit.USAGE, f"-b{value} is not done here")
