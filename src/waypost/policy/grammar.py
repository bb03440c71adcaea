"""Address fields as RFC 5322 3.4 says, read by one grammar: mailbox-list (From) and address-list
(To, Cc, Bcc).

One pass, no recursion, a step a token. `STRICT` is for fields that say who a mail is from: no
groups, no routes, no empty members, each address in one piece. `LENIENT` is for fields that say
where it goes: it also reads obsolete routes, white space and comments inside addresses, and empty
members. In both, a display name may hold dots, @ and 8-bit characters without quotes, as real mail
does. What is read otherwise is an error, never skipped. Knows nothing of which addresses are
allowed.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from waypost.core.address import Address, make, parse
from waypost.core.errors import AddressError
from waypost.core.reply import printable
from waypost.policy import words

COMMENT_DEPTH = 32  # RFC 5322 3.2.2 sets none; nobody nests deeper
MEMBER_TOKENS = 1_000  # bounds memory; a display name has a few
SHOWN_OCTETS = 80

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]"
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]++)"
    r'|(?P<word>=\?[^\s?()<>@,;:"\\\[\]]++\?[BbQq]\?[^\s?]*+\?=(?=[\s"(<,;:]|\Z))'
    rf"|(?P<atom>{_ATEXT}++(?:\.{_ATEXT}++)*+)"
    r"|(?P<special>[@<>,;:.])"
    r'|(?P<quoted>"(?:[^"\\]|\\[\s\S])*+")'
    r"|(?P<comment>\()"
    r"|(?P<literal>\[[^\[\]\\]*+\])"
)
_PLAIN = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_DOTTED = rf"{_PLAIN}++(?:\.{_PLAIN}++)*+"
_ODD_WORD = re.compile(r'=\?[^\s?]*+\?[BbQq]\?[^\s?()<>@,;:"\\\[\]]*+[()<>@,;:"\\\[\]]')
# One member as nearly all are written. It reads nothing that the grammar below reads otherwise;
# text whose encoded words hold specials is left to that: a comma in one would end a member.
_SIMPLE = re.compile(
    rf'[ \t]*+(?:((?:{_DOTTED}[ \t]*+)*+|"[^"\\]*+"[ \t]*+)<({_DOTTED}@{_DOTTED})>'
    rf"|({_DOTTED}@{_DOTTED}))[ \t]*+(,|\Z)"
)
_COMMENT_MARK = re.compile(r"\\[\s\S]|[()]")
_PAIR = re.compile(r"\\([\s\S])")
_WORD_SPECIALS = re.compile(r'[()<>@,;:"\\\[\]]')  # RFC 2047 5 (3): none of these in a phrase
_GROUP_NAME = frozenset({"atom", "quoted", "word", "."})
_DISPLAY_NAME = _GROUP_NAME | {"@"}


class Form(enum.Enum):
    """Which fields: those that say who a mail is from, or those that say where it goes."""

    STRICT = "strict"
    LENIENT = "lenient"


class Token(NamedTuple):
    """A piece of the text; `kind` of a special is the character itself."""

    kind: str
    text: str
    start: int
    end: int


class Mailbox(msgspec.Struct, frozen=True):
    """One address with its display name and the comments around it, encoded words decoded."""

    address: Address
    name: str
    comments: tuple[str, ...]


def mailbox_list(text: str) -> list[Mailbox]:
    """The mailboxes of a From, Sender, Resent-From or Resent-Sender.

    Raises `AddressError` or `NonAsciiLocalPart` where the text is not a mailbox-list.
    """
    simple = _SIMPLE.match(text) if _plain_words(text) else None
    if simple and not simple[4]:  # the text ends with it
        name = simple[1] or ""
        if name.startswith('"'):
            name = name.rstrip(" \t")[1:-1]
        else:
            name = words.decode(" ".join(name.split()))
        return [Mailbox(parse(simple[2] or simple[3]), name, ())]
    reader = _Reader(text, Form.STRICT)
    return [
        Mailbox(address, _plain(name), tuple(words.decode(c) for c in comments))
        for address, name, comments in reader.members()
    ]


def address_list(text: str) -> Iterator[Address]:
    """The addresses of a To, Cc or Bcc, one by one, groups opened; none where it is empty.

    Raises `AddressError` or `NonAsciiLocalPart` on reaching what cannot be read.
    """
    if _plain_words(text):
        end = 0
        while simple := _SIMPLE.match(text, end):
            yield parse(simple[2] or simple[3])
            if not simple[4]:
                return
            end = simple.end()
        text = text[end:]
    for address, _, _ in _Reader(text, Form.LENIENT).members():
        yield address


def _plain_words(text: str) -> bool:
    """Whether no encoded word holds a character that means something outside of it."""
    return "=?" not in text or _ODD_WORD.search(text) is None


class _Reader:
    """Reads one value. `_group`: how many members the open group has so far, None outside of
    groups.
    """

    def __init__(self, text: str, form: Form) -> None:
        self._text = text
        self._strict = form is Form.STRICT
        self._comments: list[str] = []
        self._group: int | None = None
        self._tokens = self._scan()

    def members(self) -> Iterator[tuple[Address, list[Token], list[str]]]:
        """Each mailbox: its address, the tokens of its display name, its comments."""
        mark = ","
        while mark:
            held, mark = self._until_mark()
            if mark == ":":
                self._open_group(held)
                continue
            if mark == "<":
                address, mark = self._angle(held)
                yield address, held, self._comments
            elif held:
                yield self._address(held), [], self._comments
            elif self._strict:
                raise AddressError("an address is missing")
            if self._group is not None and held:
                self._group += 1
            self._comments = []
            if mark == ";":
                mark = self._close_group()
            elif mark == ">":
                raise AddressError("a > stands alone")
        if self._group:  # an empty one may lack its ; since it names nobody who could be missed
            raise AddressError("a group lacks its ;")

    def _until_mark(self) -> tuple[list[Token], str]:
        """The tokens up to the next of < > , ; : and that character; empty at the end."""
        held: list[Token] = []
        for token in self._tokens:
            if token.kind in "<>,;:":
                return held, token.kind
            held.append(token)
            if len(held) > MEMBER_TOKENS:
                raise AddressError(f"one address has more than {MEMBER_TOKENS} words")
        return held, ""

    def _open_group(self, name: list[Token]) -> None:
        if self._strict:
            raise AddressError("a group is not an address")
        if self._group is not None:
            raise AddressError("a group is inside a group")
        if not name or any(token.kind not in _GROUP_NAME for token in name):
            raise AddressError("a : follows what is no group name")
        self._group = 0

    def _close_group(self) -> str:
        if self._group is None:
            raise AddressError("a ; stands alone: separate addresses by commas")
        self._group = None
        held, mark = self._until_mark()
        if held or mark not in ("", ","):
            raise AddressError("something follows the ; of a group")
        return mark

    def _angle(self, name: list[Token]) -> tuple[Address, str]:
        """The address in angle brackets, and the mark after them."""
        if any(token.kind not in _DISPLAY_NAME for token in name):
            raise AddressError("the display name needs quotes")
        comments = len(self._comments)
        held, mark = self._until_mark()
        if not self._strict:
            held, mark = self._past_route(held, mark)
        if mark != ">":
            raise AddressError("a < lacks its >")
        if self._strict and len(self._comments) > comments:
            raise AddressError("a comment is inside the angle brackets")
        address = self._address(held)
        after, mark = self._until_mark()
        if after or mark not in ("", ",", ";"):
            raise AddressError("something follows the >")
        return address, mark

    def _past_route(self, held: list[Token], mark: str) -> tuple[list[Token], str]:
        """What follows an obsolete route `@a,@b:` (RFC 5322 4.4), which is read and ignored."""
        while mark in (",", ":") and mark:
            if held and not (
                len(held) == 2 and held[0].kind == "@" and held[1].kind in ("atom", "literal")
            ):
                raise AddressError("a < lacks its >")
            ended = mark == ":"
            held, mark = self._until_mark()
            if ended:
                break
        return held, mark

    def _address(self, held: list[Token]) -> Address:
        kinds = [token.kind for token in held]
        if (
            len(held) == 3
            and kinds[1] == "@"
            and kinds[0] in ("atom", "quoted")
            and kinds[2] in ("atom", "literal")
        ):
            local, at, domain = held
            if self._strict and not (local.end == at.start and at.end == domain.start):
                raise AddressError("the address is not in one piece")
            return make(local.text, domain.text)
        if self._strict or kinds.count("@") != 1:
            raise AddressError(
                f"{printable(_joined(held), SHOWN_OCTETS) or '<>'} is not an address"
            )
        at_index = kinds.index("@")
        return make(self._dotted(held[:at_index]), self._dotted(held[at_index + 1 :]))

    def _dotted(self, held: list[Token]) -> str:
        """An obsolete local part or domain (RFC 5322 4.4): words with dots between them."""
        for index, token in enumerate(held):
            if (token.kind == ".") is not (index % 2 == 1) or token.kind == "word":
                raise AddressError(
                    f"{printable(_joined(held), SHOWN_OCTETS)} is no part of an address"
                )
        if not any(token.kind == "quoted" for token in held):
            return "".join(token.text for token in held)
        plain = "".join(_unquoted(token) for token in held)
        return '"' + re.sub(r'(["\\])', r"\\\1", plain) + '"'

    def _scan(self) -> Iterator[Token]:
        """All tokens but white space and comments; the text of a comment goes to `_comments`."""
        text, end, match = self._text, 0, _TOKEN.match
        size = len(text)
        while end < size:
            found = match(text, end)
            if found is None:
                raise AddressError(
                    f"{printable(text[end]) or 'a control character'} is out of place"
                )
            start, end = end, found.end()
            kind = found.lastgroup or ""
            if kind == "space":
                continue
            if kind == "comment":
                end = self._comment(start)
                continue
            piece = found[0]
            if kind == "word" and self._strict and _WORD_SPECIALS.search(piece):
                raise AddressError("an encoded word holds characters that it must encode")
            yield Token(piece if kind == "special" else kind, piece, start, end)

    def _comment(self, start: int) -> int:
        """Where the comment that opens at `start` ends; nested ones are counted."""
        depth = 0
        for found in _COMMENT_MARK.finditer(self._text, start):
            if found[0] == "(":
                depth += 1
                if depth > COMMENT_DEPTH:
                    raise AddressError(f"comments are nested more than {COMMENT_DEPTH} deep")
            elif found[0] == ")":
                depth -= 1
                if not depth:
                    if self._strict:
                        self._keep(self._text[start + 1 : found.start()])
                    return found.end()
        raise AddressError("a comment lacks its )")

    def _keep(self, comment: str) -> None:
        self._comments.append(_PAIR.sub(r"\1", comment))
        if len(self._comments) > MEMBER_TOKENS:
            raise AddressError(f"one address has more than {MEMBER_TOKENS} comments")


def _joined(held: list[Token]) -> str:
    return " ".join(token.text for token in held)


def _unquoted(token: Token) -> str:
    return _PAIR.sub(r"\1", token.text[1:-1]) if token.kind == "quoted" else token.text


def _plain(name: list[Token]) -> str:
    """A display name as it is shown: without quotes, encoded words outside of quotes decoded."""
    out: list[str] = []
    run: list[str] = []
    end = -1
    for index, token in enumerate(name):
        gap = " " if 0 <= end < token.start and not _binds(name, index) else ""
        end = token.end
        if token.kind != "quoted":
            run.append(gap + token.text)
            continue
        out += (words.decode("".join(run)), gap, _unquoted(token))
        run = []
    return "".join((*out, words.decode("".join(run))))


def _binds(name: list[Token], index: int) -> bool:
    """Whether the gap before this token is one around the @ of what others read as an address: to
    them `a @ b.example <x@y.example>` begins with one (RFC 5322 4.4), `Sales @ Acme` does not.
    """
    at = index if name[index].kind == "@" else index - 1
    if at < 1 or name[at].kind != "@":
        return False
    domain = name[at + 1 : at + 4]
    if [token.kind for token in domain] == ["atom", ".", "atom"]:
        return True
    return bool(domain) and domain[0].kind == "atom" and "." in domain[0].text
