"""A message that is sent again: the octets that went out, without the Received field of their first
way through here, to the recipients that were its own.

Promises what any way in does, from the same octets. Knows nothing of where they were kept.
"""

from __future__ import annotations

import msgspec

from waypost.core.address import Address
from waypost.core.message import Content
from waypost.core.verdict import Refusal
from waypost.intake.receive import Receiver

CHUNK_OCTETS = 262_144
RECEIVED = b"received:"


class Kept(msgspec.Struct, frozen=True):
    """A message of the log whose octets, as they went out, are kept."""

    account_id: int
    octets: bytes
    sender: Address
    to: tuple[Address, ...]


def take_in(octets: bytes, receiver: Receiver) -> Content | Refusal:
    """The same message on its way in; what is not accepted is the caller's to discard."""
    for at in range(end_of_first_received(octets), len(octets), CHUNK_OCTETS):
        receiver.feed(octets[at : at + CHUNK_OCTETS])
    return receiver.finish()


def end_of_first_received(octets: bytes) -> int:
    """Where a Received field on top ends: ours, made when the message came in the first time."""
    if octets[: len(RECEIVED)].lower() != RECEIVED:
        return 0
    end = octets.find(b"\r\n")
    while end >= 0 and octets[end + 2 : end + 3] in (b" ", b"\t"):
        end = octets.find(b"\r\n", end + 2)
    return end + 2 if end >= 0 else 0
