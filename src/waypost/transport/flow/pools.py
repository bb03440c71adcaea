"""The connections of the upstreams, as they are counted for whoever watches. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from waypost.core.facts import Account
from waypost.transport.courier import Courier


class Pool(NamedTuple):
    """The connections of one upstream: how many are open or opening, how many messages are claimed
    for them, and whether it takes mail. `account`: whose it is, empty for the operator's."""

    upstream: str
    account: str
    connections: int
    claimed: int
    able: bool


def pool_of(courier: Courier, accounts: Mapping[int, Account]) -> Pool:
    """Of one upstream; `accounts`: those that there are."""
    upstream = courier.upstream
    owner = accounts.get(upstream.account_id) if upstream.account_id is not None else None
    name = owner.name if owner is not None else ""
    return Pool(upstream.name, name, courier.busy, courier.window.ready, courier.able)
