"""The settings of an upstream as the store gives them, for tests of what is done with them."""

from __future__ import annotations

from typing import Any

import msgspec

from waypost.core.upstream import Encryption, Health, Limits, Upstream, Validate


def make_upstream(**changes: Any) -> Upstream:
    """An operator's upstream with STARTTLS and a user name, as it is right after it was added."""
    made = Upstream(
        id=1,
        name="up",
        account_id=None,
        host="mx.example.com",
        port=587,
        encryption=Encryption.STARTTLS,
        username="me@example.com",
        password=None,
        validate=Validate.AUTO,
        pin="",
        preset="custom",
        fallback_id=None,
        edition=1,
        limits=Limits(),
        health=Health(),
        created_at_ms=0,
    )
    return msgspec.structs.replace(made, **changes)
