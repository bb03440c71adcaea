"""The body of a call: read whole, held in memory while small, in a file without a name beyond.

Promises at most `SPILL_OCTETS` of memory a call, all of them within what unfinished messages may
hold, an answer that the client can read when it sends too much, and an end to slow ones. Knows
nothing of JSON and of mail.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from pathlib import Path
from typing import IO, Any

from litestar.types import Receive

from waypost.core.verdict import Reason
from waypost.intake.bounds import Memory
from waypost.intake.http.draft import wrong
from waypost.web import BODY_OCTETS, Failure

SPILL_OCTETS = 262_144  # beyond it a body is a file: 2,000 calls at once are then 500 MB
READ_ON_OCTETS = 2 * BODY_OCTETS  # thrown away before a client that sends too much is cut
BODY_S = 300.0  # for the whole of it


class Body:
    """The octets of a body. `close` lets go of them."""

    def __init__(self, folder: Path, memory: Memory) -> None:
        self.octets = 0
        self._folder = folder
        self._memory = memory
        self._counted = 0
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None

    @property
    def large(self) -> bool:
        return self._file is not None

    def add(self, piece: bytes) -> None:
        """More of it."""
        self.octets += len(piece)
        if self.octets > BODY_OCTETS:
            self.close()
            return
        if self._file is None:
            self._pieces.append(piece)
            fits = self._memory.take(len(piece))
            self._counted += len(piece) if fits else 0
            if fits and self.octets <= SPILL_OCTETS:
                return
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  (`close`)
            piece = b"".join(self._pieces)
            self._let_go()
        self._file.write(piece)

    def whole(self) -> bytes:
        """All of it; a large one is read from its file: in a thread."""
        if self._file is None:
            return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._file.seek(0)
        return self._file.read()

    def digest(self, *before: bytes) -> bytes:
        """SHA-256 of the octets behind those."""
        digest = hashlib.sha256(b"\0".join(before) + b"\0")
        if self._file is None:
            digest.update(self.whole())
        else:
            self._file.seek(0)
            while piece := self._file.read(SPILL_OCTETS):
                digest.update(piece)
        return digest.digest()

    def close(self) -> None:
        self._let_go()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _let_go(self) -> None:
        self._pieces.clear()
        self._memory.give(self._counted)
        self._counted = 0


async def take(receive: Receive, folder: Path, memory: Memory) -> Body:
    """The body that the client sends. Raises `Failure` 413, 408 or 503, `ConnectionError`."""
    body = Body(folder, memory)
    try:
        async with asyncio.timeout(BODY_S):
            more = True
            while more:
                message: Any = await receive()
                if message["type"] != "http.request":
                    raise ConnectionAbortedError
                body.add(message.get("body", b""))
                more = message.get("more_body", False)
                if body.octets > READ_ON_OCTETS:
                    raise too_large({"Connection": "close"})
    except TimeoutError:
        body.close()
        text = f"The body took longer than {BODY_S:.0f} s: send it faster"
        raise Failure(408, "INVALID_REQUEST", text, headers={"Connection": "close"}) from None
    except OSError as error:
        body.close()
        if isinstance(error, ConnectionError):
            raise
        raise wrong("The relay is short of disk space, try again later", "", Reason.FULL) from error
    except BaseException:
        body.close()
        raise
    if body.octets > BODY_OCTETS:
        raise too_large({})
    return body


def too_large(headers: dict[str, str]) -> Failure:
    """What a client is told that sends too much."""
    text = f"The body is larger than {BODY_OCTETS} bytes: send less, or a link to it"
    return Failure(413, "TOO_LARGE", text, headers=headers)
