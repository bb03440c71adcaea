"""Accounts and their credits: made, changed, disabled, topped up, shown.

Every change of a balance is a line of the ledger in the same transaction. Knows nothing of keys,
senders and mail.
"""

from __future__ import annotations

from hashlib import sha256

from msgspec import UNSET, UnsetType

from waypost.core import ident
from waypost.core.errors import Conflict, UsageError, WrongState
from waypost.desk.office import (
    DAY_MS,
    NEWEST,
    Desk,
    account_of,
    address_of,
    limit_of,
    name_of,
    note_of,
    shown,
    whole,
)
from waypost.desk.views import AccountView, LedgerView, UseView, iso
from waypost.store.manage import rows
from waypost.store.read import people
from waypost.store.read.book import Look, Value
from waypost.store.read.rows import AccountRow, LedgerRow

CREDITS_MOST = 10**12
RATE_MOST = 1_000_000  # a minute
OPENING = "opening balance"
CORRECTED = "balance set"


def create(
    desk: Desk,
    name: str,
    *,
    credits: int | None = 0,
    rate_limit: int | UnsetType | None = UNSET,
    default_sender: str | None = None,
    notify: str | None = None,
) -> AccountView:
    """A new account. `credits` None: unlimited. `rate_limit` None: none; unset: the default.

    Raises `UsageError`, or `WrongState` where the name is taken.
    """
    name_of(name, "name")
    if credits is not None:
        whole(credits, 0, CREDITS_MOST, "credits")
    columns: dict[str, Value] = {
        "name": name,
        "unlimited": credits is None,
        "created_at": desk.clock.wall_ms(),
        **_settings(rate_limit, default_sender, notify),
    }
    with desk.writing() as look:
        if people.account(look, name) is not None:
            raise WrongState(f"there is an account {shown(name)} already")
        account_id = rows.insert(look, "account", columns)
        if credits:
            rows.credit(look, account_id, credits, desk.clock.wall_ms(), OPENING)
        return _view(desk, account_of(look, name))


def change(
    desk: Desk,
    name: str,
    *,
    credits: int | UnsetType | None = UNSET,
    unlimited: bool | UnsetType = UNSET,
    rate_limit: int | UnsetType | None = UNSET,
    default_sender: str | UnsetType | None = UNSET,
    notify: str | UnsetType | None = UNSET,
) -> AccountView:
    """Changes what is said. `credits` as a number sets the balance, with a line for the
    difference. `unlimited` leaves the balance as it is then; it must not be below zero to count.
    """
    if isinstance(credits, int):
        whole(credits, 0, CREDITS_MOST, "credits")
    columns = _settings(rate_limit, default_sender, notify)
    with desk.writing() as look:
        account = account_of(look, name)
        if credits is not UNSET:
            columns["unlimited"] = credits is None
        elif unlimited is not UNSET:
            if not unlimited and account.balance < 0:
                raise UsageError("its balance is below zero: add credits first", "unlimited")
            columns["unlimited"] = unlimited
        rows.update(look, "account", account.id, columns)
        if isinstance(credits, int) and credits != account.balance:
            difference = credits - account.balance
            rows.credit(look, account.id, difference, desk.clock.wall_ms(), CORRECTED)
        return _view(desk, account_of(look, name))


def disable(desk: Desk, name: str) -> AccountView:
    """Its keys are dead at once, its queue is held."""
    return _enabled(desk, name, False)


def enable(desk: Desk, name: str) -> AccountView:
    """Its keys work and its queue goes on at once."""
    return _enabled(desk, name, True)


def show(desk: Desk, name: str) -> AccountView:
    with desk.reading() as look:
        return _view(desk, account_of(look, name))


def list_(desk: Desk, limit: int = 100, *, behind: str | None = None) -> list[AccountView]:
    """Newest first; behind the account of that name."""
    with desk.reading() as look:
        below = NEWEST if behind is None else account_of(look, behind).id
        return [_view(desk, row) for row in people.accounts(look, limit_of(limit), below)]


def use(desk: Desk, name: str) -> UseView:
    """The account with what it had accepted since midnight UTC."""
    with desk.reading() as look:
        account = account_of(look, name)
        messages, recipients = people.use(look, account.id, ident.floor(desk.today() * DAY_MS))
        return UseView(
            account=_view(desk, account), messages_today=messages, recipients_today=recipients
        )


def add_credits(desk: Desk, account: str, amount: int, note: str = "") -> AccountView:
    """A line of the ledger: credits bought, or (negative) a correction, never to below zero."""
    return add_credits_once(desk, "", account, amount, note)[0]


def add_credits_once(
    desk: Desk, once: str, account: str, amount: int, note: str = ""
) -> tuple[AccountView, bool]:
    """The same for programs, which may have to ask again: a change that `once`, a word of theirs
    that is kept 24 hours, stands for already is not made again, and True is given beside.

    Raises `Conflict` where it stands for another change. Empty: no word.
    """
    whole(amount, -CREDITS_MOST, CREDITS_MOST, "credits")
    note_of(note, "note")
    if amount == 0:
        raise UsageError("0 credits change nothing", "credits")
    now = desk.clock.wall_ms()
    with desk.writing() as look:
        row = account_of(look, account)
        if once and _done(look, row.id, once, f"{amount}\0{note}", now):
            return _view(desk, row), True
        if row.balance + amount < 0 and amount < 0 and not row.unlimited:
            raise WrongState(f"{shown(account)} has {row.balance} credits: no more can be taken")
        if abs(row.balance + amount) > CREDITS_MOST:
            raise WrongState(f"a balance is at most {CREDITS_MOST} credits")
        rows.credit(look, row.id, amount, now, note)
        return _view(desk, account_of(look, account)), False


def ledger(desk: Desk, account: str, limit: int = 0) -> list[LedgerView]:
    """Every line, or the newest `limit`, oldest first, so that the balances read on."""
    return [found for _, found in ledger_behind(desk, account, limit=limit)][::-1]


def ledger_behind(
    desk: Desk, account: str, *, below: int = NEWEST, limit: int = 0
) -> list[tuple[int, LedgerView]]:
    """(number, line), newest first, with a number below that."""
    with desk.reading() as look:
        row = account_of(look, account)
        found = people.ledger(look, row.id, below, limit_of(limit))
        return [(number, line(entry)) for number, entry in found]


def line(row: LedgerRow) -> LedgerView:
    """A line of the ledger as shown."""
    return LedgerView(
        at=iso(row.at),
        amount=row.amount,
        reason=row.reason,
        message=None if row.message_id is None else ident.show(row.message_id),
        recipient=row.recipient,
        note=row.note,
        balance=row.balance,
    )


def _done(look: Look, account_id: int, once: str, change: str, now_ms: int) -> bool:
    """Whether the word stands for this change already; else it does from now on."""
    word = sha256(f"credits\0{once}".encode("utf-8", "surrogateescape")).digest()
    stands = sha256(change.encode()).digest()
    found = rows.stand(look, account_id, word, stands, (now_ms, now_ms - DAY_MS))
    if found not in (None, stands):
        raise Conflict("this Idempotency-Key was used for another change: use a new one")
    return found is not None


def _settings(
    rate_limit: int | UnsetType | None,
    default_sender: str | UnsetType | None,
    notify: str | UnsetType | None,
) -> dict[str, Value]:
    columns: dict[str, Value] = {}
    if rate_limit is None:
        columns["rate_per_minute"] = 0
    elif rate_limit is not UNSET:
        columns["rate_per_minute"] = whole(rate_limit, 1, RATE_MOST, "rate_limit")
    for name, text in (("default_sender", default_sender), ("notify", notify)):
        if text is None:
            columns[name] = None
        elif text is not UNSET:
            columns[name] = str(address_of(text, name))
    return columns


def _enabled(desk: Desk, name: str, enabled: bool) -> AccountView:
    with desk.writing() as look:
        rows.update(look, "account", account_of(look, name).id, {"enabled": enabled})
        return _view(desk, account_of(look, name))


def _view(desk: Desk, row: AccountRow) -> AccountView:
    own = row.rate_per_minute is not None
    rate = row.rate_per_minute if row.rate_per_minute is not None else desk.rate_per_minute
    return AccountView(
        name=row.name,
        enabled=row.enabled,
        credits=None if row.unlimited else row.balance,
        unlimited=row.unlimited,
        balance=row.balance,
        rate_limit=rate or None,
        own_rate=own,
        default_sender=row.default_sender,
        notify=row.notify,
        created_at=iso(row.created_at),
    )
