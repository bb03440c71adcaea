"""A route as a value: where it is, what it takes and gives, and the deed behind it.

Both the answers and the description are made of it, so that they cannot differ. Knows nothing of
any one deed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from waypost.config import Config
from waypost.core.errors import Forbidden, NotFound, UsageError
from waypost.desk.connection.trial import Trial
from waypost.desk.office import NEWEST, Desk, shown
from waypost.desk.send.again import Again
from waypost.domain.resolver import Dns
from waypost.pages.api import query as reads
from waypost.pages.api.query import Query
from waypost.transport.check.lookup import Lookup
from waypost.transport.check.run import Setup

ROOT = "/api/v1/manage"
BODY_OCTETS = 65_536  # of a call here: names and settings
PAGING = ("cursor", "limit")
V = TypeVar("V")


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A body that says nothing."""


class Page(msgspec.Struct):
    """A part of a list, and the cursor behind it; None: there is nothing older."""

    data: Sequence[object]
    cursor: str | None = None


class Replayed(msgspec.Struct):
    """What was done before under the same `Idempotency-Key`, and not again."""

    data: object


class Means(msgspec.Struct, frozen=True):
    """How other machines are asked: upstreams tested and detected, domains checked. `config` is
    that of the installation.
    """

    setup: Setup
    lookup: Lookup
    dns: Dns
    config: Config


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `account`: whose token it is, None for all. `body` is of what the route takes;
    `door` is the way to send again.
    """

    desk: Desk
    means: Means
    account: str | None
    path: dict[str, str]
    query: Query
    body: Any
    once: str
    door: Again

    @property
    def mine(self) -> bool:
        """The token is of one account."""
        return self.account is not None

    def of(self, said: str | None) -> str | None:
        """Whose things are meant: the token's account, or any that was said.

        Another's than the token's is not there.
        """
        if self.account is None:
            return said
        if said not in (None, self.account):
            raise NotFound(f"there is no account {shown(said or '')}")
        return self.account

    @property
    def whose(self) -> str | None:
        """Whose, by the parameter `account`."""
        return self.of(self.query.get("account"))

    def number(self, name: str) -> int:
        """A number in the path; what cannot be one is not there."""
        try:
            return reads.whole(self.path[name], name)
        except UsageError:
            raise NotFound(f"there is no {name} of that number") from None

    def operator(self, field: str) -> None:
        """`Forbidden` for a token of one account."""
        if self.mine:
            raise Forbidden("this is the operator's: a token of one account may not say it", field)

    def trial(self, test: bool = True) -> Trial:
        """How an upstream is tried."""
        return Trial(self.means.setup, test=test)

    def page(self, ask: Callable[[int, int], Sequence[V]], number: Callable[[V], int]) -> Page:
        """A page by number: `ask(below, limit)` gives what is below it, newest first."""
        below = reads.whole(self.query["cursor"], "cursor") if "cursor" in self.query else NEWEST
        most = reads.limit(self.query)
        found = ask(below, most + 1)
        return cut(found, most, lambda last: str(number(last)))


def cut(found: Sequence[V], most: int, cursor: Callable[[V], str]) -> Page:
    """A page of what was asked for with one more than it holds."""
    more = len(found) > most
    return Page(found[:most], cursor(found[most - 1]) if more else None)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`path` has names in braces. `takes` None: no body. `gives`: one, or with `many` a list.

    `operator`: a token of one account may not. `slow`: it waits for other machines, or reads all.
    `errors` are those beyond what every route can say.
    """

    method: str
    path: str
    summary: str
    do: Callable[[Ask], object]
    gives: type
    many: bool = False
    takes: type | None = None
    example: dict[str, Any] = {}
    query: tuple[str, ...] = ()
    status: int = 200
    operator: bool = False
    slow: bool = False
    body_octets: int = BODY_OCTETS
    errors: tuple[int, ...] = ()

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.path.strip("/").split("/"))


def listed(
    path: str, summary: str, gives: type, deed: Callable[..., Any], *, operator: bool = False
) -> Route:
    """A list of numbered things of an account, or of all, newest first."""

    def pages(ask: Ask) -> Page:
        def below(number: int, most: int) -> Sequence[Any]:
            found: Sequence[Any] = deed(ask.desk, account=ask.whose, below=number, limit=most)
            return found

        return ask.page(below, lambda view: int(view.id))

    return Route(
        method="GET",
        path=path,
        summary=summary,
        do=pages,
        gives=gives,
        many=True,
        query=("account", *PAGING),
        operator=operator,
    )
