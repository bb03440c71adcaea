"""Errors that say whose fault it is and carry two texts.

`public` may be shown to a peer and written to any log; `private` is for the operator's log only.
A secret is put into neither: what may hold one is wrapped in `Secret` first.
"""

from __future__ import annotations

from typing import NoReturn


class WaypostError(Exception):
    """The root of all errors of ours; `str()` gives the public text."""

    def __init__(self, public: str, private: str = "") -> None:
        super().__init__(public)
        self.public = public
        self.private = private or public


class AddressError(WaypostError):
    """An address cannot be read (the sender of it is at fault)."""


class NonAsciiLocalPart(AddressError):
    """A local part holds bytes that only SMTPUTF8 could carry (RFC 6531), which is not offered."""


class ConfigError(WaypostError):
    """The configuration is wrong: names the place, what was expected and the nearest known name."""


class UsageError(WaypostError):
    """A deed was asked for with wrong arguments (exit 2, HTTP 400); `field` names the argument."""

    def __init__(self, public: str, field: str = "") -> None:
        super().__init__(public)
        self.field = field


class NotFound(WaypostError):
    """The thing named does not exist, or is not the asker's (exit 1, HTTP 404)."""


class WrongState(WaypostError):
    """The thing is not in a state that allows the deed (exit 1, HTTP 409)."""


class Forbidden(WaypostError):
    """The asker may see the thing, but the deed is the operator's (HTTP 403, FORBIDDEN)."""

    def __init__(self, public: str, field: str = "") -> None:
        super().__init__(public)
        self.field = field


class Conflict(WrongState):
    """A word that stands for one deed was said with another (HTTP 409, IDEMPOTENCY_CONFLICT)."""


class StoreAway(WaypostError):
    """The store cannot be read or written now; nothing was kept (451 4.3.0, 454 4.7.0, 503)."""


class StoreBroken(StoreAway):
    """A sync to disk failed: what is on disk is unknown, all workers must stop."""


class Unwritable(StoreAway):
    """What was to be written can never be kept as it is: to ask again changes nothing. Nothing of
    it was kept; the store itself is well."""


class BodyLost(StoreAway):
    """The octets of a message are gone, or cut short: it can never be sent again."""


class SchemaTooNew(WaypostError):
    """The store was written by a newer program; every command stops with one line."""


class Secret:
    """A text that never shows itself: `repr` and `str` give `***`, `reveal()` the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not copied or written down as it is")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)
