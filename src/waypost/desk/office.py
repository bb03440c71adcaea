"""What every deed is given, and the care of the whole store: audit, backup, restore.

A `Desk` opens the store for each deed and closes it after, so that threads, commands and relays
may all have one. A change raises the shared generation around its commit, so that every relay sees
it at its next command. Knows nothing of what the deeds mean.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from waypost.clock import Clock
from waypost.core.address import Address
from waypost.core.address import parse as parse_address
from waypost.core.errors import AddressError, NotFound, Secret, UsageError
from waypost.desk.views import AuditView, BackupView, CheckView
from waypost.store.connect import Paths
from waypost.store.keep import backup as copies
from waypost.store.manage import access as access_rows
from waypost.store.migrate import open_migrated
from waypost.store.read import audit as proof
from waypost.store.read import people
from waypost.store.read.book import Look
from waypost.store.read.rows import AccountRow
from waypost.store.shared import Shared, changing

NAME_CHARACTERS = 64
NOTE_CHARACTERS = 500
DAY_MS = 86_400_000
NEWEST = 2**63 - 1
"""Above every number of a row: a list that begins at its newest."""
BUSY_WAIT_MS = 30_000
"""How long a command waits for others to finish writing."""


class Sealer(Protocol):
    """Seals passwords at rest; `row` is what the sealed text is bound to."""

    def seal(self, secret: Secret, row: bytes) -> bytes: ...

    def open(self, blob: bytes, row: bytes) -> Secret: ...

    def stale(self, blob: bytes) -> bool: ...


class Hand(msgspec.Struct, frozen=True, kw_only=True):
    """Who does a deed, for the audit trail. `subject` is what it is done to, in plain words and
    without a secret; `account` names the account that it is about, None for the operator's own.
    """

    actor: str
    deed: str
    subject: str = ""
    peer: str = ""
    account: str | None = None
    member_id: int | None = None


class Desk(msgspec.Struct, kw_only=True):
    """Where the deeds are done. `rate_per_minute` is the default of accounts, 0 is none.

    `create`: a data directory that is not there is made, else it is `NotFound`. `hand`: whose deeds
    are noted in the audit trail, in the transaction that they are done in. `bound`: whoever asks is
    of one account, a member or a token, and is refused what the operator alone may say.
    """

    data: Path
    clock: Clock
    sealer: Sealer
    key_file: Path
    key_prefix: str = "hyd-mail-"
    rate_per_minute: int = 120
    global_sender: Address | None = None
    body_ms: int = 0
    failed_body_ms: int = 7 * DAY_MS
    create: bool = False
    hand: Hand | None = None
    bound: bool = False

    def obey(self, other: Desk) -> None:
        """Takes over what a reload has changed, and nothing else ever does."""
        self.rate_per_minute, self.global_sender = other.rate_per_minute, other.global_sender
        self.body_ms, self.failed_body_ms = other.body_ms, other.failed_body_ms

    def by(self, hand: Hand | None) -> Desk:
        """The same desk, whose deeds are this hand's."""
        return msgspec.structs.replace(self, hand=hand)

    def exists(self) -> bool:
        """The data directory holds a store."""
        return Paths(self.data).database.exists()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Look]:
        """One snapshot of the store."""
        self.must_exist()
        db = open_migrated(self.data, create=self.create)
        try:
            look = Look(db)
            look.run("BEGIN")
            yield look
        finally:
            db.close()  # ends the read

    @contextlib.contextmanager
    def writing(self) -> Iterator[Look]:
        """One write transaction, seen by every relay when it is committed; undone by any
        exception.
        """
        with self._changing(told=True) as look:
            yield look

    @contextlib.contextmanager
    def noting(self) -> Iterator[Look]:
        """One write transaction of something that no relay has to look at."""
        with self._changing(told=False) as look:
            yield look

    @contextlib.contextmanager
    def _changing(self, *, told: bool) -> Iterator[Look]:
        self.must_exist()
        db = open_migrated(self.data, create=self.create)
        try:
            db.set_busy_timeout(BUSY_WAIT_MS)
            shared = Shared(self.data)
            try:
                with changing(db, shared, facts=told, work=told):
                    look = Look(db)
                    yield look
                    self._note(look)
            finally:
                shared.close()
        finally:
            db.close()

    def _note(self, look: Look) -> None:
        if self.hand is None:
            return
        hand = self.hand
        account = people.account(look, hand.account) if hand.account is not None else None
        access_rows.note(
            look,
            {
                "at": self.clock.wall_ms(),
                "account_id": account.id if account is not None else None,
                "member_id": hand.member_id,
                "actor": hand.actor,
                "deed": hand.deed,
                "subject": hand.subject,
                "peer": hand.peer,
            },
        )

    def today(self) -> int:
        """The UTC day, in days since 1970."""
        return self.clock.wall_ms() // DAY_MS

    def unlink(self, names: list[str]) -> None:
        """Lets go of files of the spool after the commit that ended their messages."""
        for name in names:
            (self.data / name).unlink(missing_ok=True)

    def must_exist(self) -> None:
        """`NotFound` where there is no store and none may be made."""
        if not self.create and not self.exists():
            raise NotFound(
                f"there is no data directory at {self.data}: start the relay with `waypost serve`,"
                " or name the right place with --data"
            )


def account_of(look: Look, name: str) -> AccountRow:
    """The account of that name, or `NotFound`."""
    found = people.account(look, name)
    if found is None:
        raise NotFound(f"there is no account {shown(name)}")
    return found


def asker(look: Look, name: str | None) -> int | None:
    """The id of the account that asks, None for the operator; or `NotFound`."""
    return None if name is None else account_of(look, name).id


def name_of(text: str, field: str) -> str:
    """A name that people give: 1 to 64 printable characters, no blanks around it, not an option."""
    if not 1 <= len(text) <= NAME_CHARACTERS or not text.isprintable():
        raise UsageError(f"a name is 1 to {NAME_CHARACTERS} printable characters", field)
    if text != text.strip() or text.startswith("-"):
        raise UsageError("a name begins with no blank or dash and ends with no blank", field)
    return text


def note_of(text: str, field: str) -> str:
    """A line of text that people add, without control characters."""
    if len(text) > NOTE_CHARACTERS or not text.isprintable():
        raise UsageError(f"up to {NOTE_CHARACTERS} printable characters are taken here", field)
    return text


def address_of(text: str, field: str) -> Address:
    """The address, or `UsageError`."""
    if not text.strip():
        raise UsageError("an address is missing, such as ann@example.com", field)
    try:
        return parse_address(text.strip())
    except AddressError as error:
        raise UsageError(str(error), field) from error


def whole(number: int, least: int, most: int, field: str) -> int:
    """The number, if it lies within bounds."""
    if not least <= number <= most:
        raise UsageError(f"{field} is a whole number from {least} to {most}", field)
    return number


def limit_of(limit: int) -> int:
    if limit < 0:
        raise UsageError("a limit is 0 (all) or more", "limit")
    return min(limit, NEWEST)


def number_of(number: int, kind: str) -> int:
    """A number that a row could have, or `NotFound`."""
    if not 0 <= number <= NEWEST:
        raise NotFound(f"there is no {kind} of that number")
    return number


def shown(name: str) -> str:
    """A name as an error repeats it."""
    plain = "".join(c if c.isprintable() else "?" for c in name)
    return f"“{plain[:NAME_CHARACTERS]}”"


def audit(desk: Desk) -> AuditView:
    """Proves the ledger and the queue on one snapshot, beside the relay."""
    with desk.reading() as look:
        checks = proof.prove(look, desk.data)
    if any(name for check in checks for name in check.missing):
        with desk.reading() as look:
            checks = proof.again(look, desk.data, checks)
    views = tuple(CheckView(name=c.name, ok=c.ok, detail=c.detail) for c in checks)
    return AuditView(ok=all(c.ok for c in checks), checks=views)


def backup(desk: Desk, directory: Path) -> BackupView:
    """Copies rows, spool, sealing keys and certificate of one instant into an empty directory."""
    desk.must_exist()
    return _copied(directory, copies.backup(desk.data, desk.key_file, directory))


def restore(directory: Path, data: Path, key_file: Path) -> BackupView:
    """Brings a backup back into a data directory that holds no store."""
    return _copied(data, copies.restore(directory, data, key_file))


def _copied(directory: Path, done: copies.Copied) -> BackupView:
    return BackupView(
        directory=str(directory),
        messages=done.messages,
        spool_files=done.spool_files,
        octets=done.octets,
    )
