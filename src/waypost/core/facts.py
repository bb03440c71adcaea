"""What is known of accounts, keys, senders and upstreams, as one snapshot that judgements are made
by.

The store loads a `Directory` whole and replaces it when its `generation` is no longer the shared
one; the accepting transaction compares the generation again. All structs are frozen: a snapshot is
shared.
"""

from __future__ import annotations

import enum

import msgspec

from waypost.core.address import Address


class RecipientsFrom(enum.StrEnum):
    """Where a key's recipients are read: headers and envelope together, or the envelope alone."""

    HEADERS = "headers"
    ENVELOPE = "envelope"


class Account(msgspec.Struct, frozen=True):
    """A tenant. `rate_per_minute`: None is the configured default, 0 is none."""

    id: int
    name: str
    enabled: bool
    unlimited: bool
    rate_per_minute: int | None
    default_sender: Address | None
    notify: Address | None
    created_at_ms: int


class Key(msgspec.Struct, frozen=True):
    """A secret's facts; `digest` is the SHA-256 of the secret (32 octets)."""

    id: int
    account_id: int
    name: str
    digest: bytes
    last4: str
    enabled: bool
    recipients: RecipientsFrom
    created_at_ms: int


class Sender(msgspec.Struct, frozen=True):
    """An address that mail may be From, bound to one upstream.

    `owner_id` None is the operator; then `everyone` makes it global and `accounts` are those it is
    assigned to. `daily_cap` None is no cap. `held` is empty, or why its mail waits.
    """

    id: int
    address: Address
    owner_id: int | None
    everyone: bool
    accounts: frozenset[int]
    upstream_id: int
    from_name: str
    daily_cap: int | None
    held: str


class Directory:
    """All facts at one generation, with the look-ups that judging needs. Never changed."""

    def __init__(
        self,
        generation: int,
        accounts: tuple[Account, ...],
        keys: tuple[Key, ...],
        senders: tuple[Sender, ...],
        global_sender: Address | None,
    ) -> None:
        self.generation = generation
        self.accounts = {a.id: a for a in accounts}
        self.keys = {k.id: k for k in keys}
        self.senders = {s.id: s for s in senders}
        self._by_digest = {k.digest: k for k in keys}
        self._global_sender = global_sender
        self._own: dict[tuple[int, str], Sender] = {}
        self._assigned: dict[tuple[int, str], Sender] = {}
        self._everyone: dict[str, Sender] = {}
        for sender in senders:
            address = sender.address.key
            if sender.owner_id is not None:
                self._own[sender.owner_id, address] = sender
                continue
            if sender.everyone:
                self._everyone[address] = sender
            for account_id in sender.accounts:
                self._assigned[account_id, address] = sender

    def key_by_digest(self, digest: bytes) -> Key | None:
        """The key whose secret has this SHA-256; a dictionary look-up of a digest leaks no
        secret."""
        return self._by_digest.get(digest)

    def sender_for(self, account_id: int, address: Address) -> Sender | None:
        """The sender that mail From this address uses: the account's own, assigned, or global."""
        key = address.key
        return (
            self._own.get((account_id, key))
            or self._assigned.get((account_id, key))
            or self._everyone.get(key)
        )

    def default_sender(self, account_id: int) -> Sender | None:
        """The sender of mail that names none: the account's default, else the global default."""
        account = self.accounts.get(account_id)
        if account is not None and account.default_sender is not None:
            found = self.sender_for(account_id, account.default_sender)
            if found is not None:
                return found
        return self._everyone.get(self._global_sender.key) if self._global_sender else None
