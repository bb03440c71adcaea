"""Search in the log of refusals, over windows of it."""

from __future__ import annotations

from typing import Any

import pytest

from desk.conftest import NOW_MS
from waypost.core.errors import UsageError
from waypost.desk.office import Desk
from waypost.desk.view import refused
from waypost.desk.view.terms import RefusalTerms, Terms, read_refusals
from waypost.store.read.screens.refused import WINDOW

COUNT = 3 * WINDOW + 7
FILL = """
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)
INSERT INTO refusal (at, channel, peer, account_id, from_address, reason, answer)
 SELECT ? - i * 60000, 'smtp', '192.0.2.' || (i % 3), 1 + i % 2, 'A' || (i % 5) || '@x.example',
 iif(i % 50, 'rate_limit', 'address'),
 iif(i % 50, '421 4.7.0 slower', '550 5.1.3 <bob@y.example is no address') FROM n
 ORDER BY i DESC
"""


@pytest.fixture
def full(desk: Desk, mail: Any) -> Desk:
    """A refusal a minute, the newest now; every other one of `acme`."""
    mail.sql("INSERT INTO account (id, name, created_at) SELECT 1, 'one', 0 WHERE NOT EXISTS"
             " (SELECT 1 FROM account WHERE id = 1)")  # fmt: skip
    mail.sql("INSERT INTO account (id, name, created_at) SELECT 2, 'two', 0 WHERE NOT EXISTS"
             " (SELECT 1 FROM account WHERE id = 2)")  # fmt: skip
    mail.sql(FILL, (COUNT, NOW_MS))
    return desk


def all_of(desk: Desk, text: str, account: str | None = None) -> list[int]:
    """The numbers of minutes ago of what is found, page by page; each page is what it says."""
    found: list[int] = []
    cursor: str | None = None
    for _ in range(50):
        page = refused.page(desk, read_refusals(text), account=account, cursor=cursor)
        found += [_ago(line.at) for line in page.lines]
        cursor = page.next
        if cursor is None:
            assert page.searched_to is None
            exported = refused.export(desk, read_refusals(text), account=account)
            assert [_ago(line.at) for line in exported] == found
            return found
        assert page.searched_to is not None
    raise AssertionError("the pages do not end")


def _ago(at: str) -> int:
    from waypost.desk.view.terms import time_ms

    return (NOW_MS - time_ms(at, "at", NOW_MS)) // 60_000


@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("", lambda i: True),
        ("code:550", lambda i: i % 50 == 0),
        ("5.1.3", lambda i: i % 50 == 0),
        ("code:ADDRESS", lambda i: i % 50 == 0),
        ("code:55", lambda i: False),
        ("code:slower", lambda i: False),
        ("550", lambda i: i % 50 == 0),
        ("rate_limit", lambda i: i % 50 != 0),
        ("a3@x.example", lambda i: i % 5 == 3),
        ("from:X.EXAMPLE peer:192.0.2.1", lambda i: i % 3 == 1),
        ("peer:192.0.2", lambda i: False),
        ("to:bob@y.example", lambda i: i % 50 == 0),
        ("after:20m", lambda i: i <= 20),
        ("before:20m", lambda i: i > 20),
        ("after:90m before:30m code:421", lambda i: 30 < i <= 90 and i % 50 != 0),
        ("after:9w", lambda i: True),
        ("before:9w", lambda i: False),
        ("key:none", lambda i: False),
    ],
)
def test_what_fits_is_found_on_some_page(full: Desk, text: str, which: Any) -> None:
    assert all_of(full, text) == [i for i in range(COUNT) if which(i)]


def test_an_account_finds_its_own(full: Desk) -> None:
    names = {line.account for line in refused.page(full, RefusalTerms(), account=None).lines}
    assert len(names) == 2
    for name in names:
        found = all_of(full, "code:421", str(name))
        assert found and len({i % 2 for i in found}) == 1


@pytest.mark.parametrize(
    "text", ["status:sent", "upstream:x", "id:0", 'from:"', "after:x", "-1 <b>x"]
)
def test_what_cannot_be_asked_is_said(full: Desk, text: str) -> None:
    with pytest.raises(UsageError):
        refused.page(full, read_refusals(text), account=None)


def test_terms_that_both_lists_share() -> None:
    both = Terms(to="a@b.c", sender="d@e.f", key="7", after="2d", before="1h")
    assert both.but(status="sent", upstream="u", id="0").refusals().messages() == both
    assert read_refusals("code:550 peer:p from:d@e.f").messages() == Terms(sender="d@e.f")
