"""What is known of the domains in use, by domain and upstream.

Writing is part of a write transaction that the caller holds. Knows nothing of DNS.
"""

from __future__ import annotations

import msgspec

from waypost.store.read.book import Look

COLUMNS = "upstream_id, domain, checked_at, status, findings FROM domain_check"


class DomainRow(msgspec.Struct, frozen=True):
    """`findings` is JSON."""

    upstream_id: int
    domain: str
    checked_at: int
    status: str
    findings: bytes


def all_(look: Look) -> list[DomainRow]:
    return look.rows(DomainRow, f"SELECT {COLUMNS}")


def of_upstream(look: Look, upstream_id: int) -> list[DomainRow]:
    return look.rows(
        DomainRow, f"SELECT {COLUMNS} WHERE upstream_id = ? ORDER BY domain", (upstream_id,)
    )


def one(look: Look, upstream_id: int, domain: str) -> DomainRow | None:
    return look.row(
        DomainRow, f"SELECT {COLUMNS} WHERE upstream_id = ? AND domain = ?", (upstream_id, domain)
    )


def bound(look: Look) -> list[tuple[int, str]]:
    """(upstream's id, address) of every sender."""
    return [(row[0], row[1]) for row in look.tuples("SELECT upstream_id, address_key FROM sender")]


def keep(look: Look, row: DomainRow) -> None:
    """In the place of what was known."""
    look.run(
        "INSERT OR REPLACE INTO domain_check (upstream_id, domain, checked_at, status, findings)"
        " VALUES (?, ?, ?, ?, ?)",
        (row.upstream_id, row.domain, row.checked_at, row.status, row.findings),
    )


def drop(look: Look, upstream_id: int, domain: str) -> None:
    """It is no longer in use."""
    look.run("DELETE FROM domain_check WHERE upstream_id = ? AND domain = ?", (upstream_id, domain))
