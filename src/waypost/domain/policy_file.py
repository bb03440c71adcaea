"""Fetches the policy file of MTA-STS (RFC 8461 3.3).

Promises bounds on time and size, a verified certificate, no redirects and no proxy of the
environment; and that nobody is connected to but at an address that was allowed, which is the one
that is then used. Knows nothing of what a policy means.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from waypost.domain.answers import Ask, Fetched

FETCH_S = 10.0  # RFC 8461 3.3 suggests a minute; people wait here
CLOSE_S = 1.0
FILE_OCTETS = 65_536  # RFC 8461 3.3
PATH = "/.well-known/mta-sts.txt"
HTTPS = 443
HEADERS = MappingProxyType(
    {"Accept": "text/plain", "Accept-Encoding": "identity", "User-Agent": "waypost"}
)


class Reach(msgspec.Struct, frozen=True):
    """How a server is reached: the addresses that are allowed, by their text. `context` None:
    certificates of the authorities that this machine trusts."""

    allows: Callable[[str], bool]
    port: int = HTTPS
    context: ssl.SSLContext | None = None


def host_of(domain: str) -> str:
    return f"mta-sts.{domain}"


def addresses(ask: Ask, domain: str, reach: Reach) -> Sequence[str] | Fetched:
    """Where the file may be asked for; else why there is none."""
    host = host_of(domain)
    answers = [ask.ask(host, kind) for kind in ("A", "AAAA")]
    found = [text for answer in answers for text in answer.records]
    if not found:
        failed = next((answer for answer in answers if answer.failed), None)
        if failed is not None:
            return Fetched(why=failed.could_not, unknown=True)
        return Fetched(why=f"{host} has no address")
    allowed = [text for text in found if reach.allows(text)]
    if not allowed:
        return Fetched(why=f"{host} is at {found[0]}, which is no public address", unknown=True)
    return allowed


def fetch(domain: str, at: Sequence[str], within_s: float, reach: Reach) -> Fetched:
    """The file. Blocking: runs a loop of its own."""
    return asyncio.run(_fetched(host_of(domain), at, within_s, reach))


async def _fetched(host: str, at: Sequence[str], within_s: float, reach: Reach) -> Fetched:
    import aiohttp  # a fifth of a second that only a domain with MTA-STS pays

    class Fixed(aiohttp.abc.AbstractResolver):
        """The addresses that were looked at, and no others."""

        async def resolve(self, _host: str, port: int = 0, family: Any = 0) -> list[Any]:
            return [_place(host, address, port) for address in at]

        async def close(self) -> None:
            pass

    sockets: list[socket.socket] = []

    def opened(place: tuple[Any, ...]) -> socket.socket:
        sockets.append(socket.socket(*place[:3]))
        return sockets[-1]

    place = host if reach.port == HTTPS else f"{host}:{reach.port}"
    timeout = aiohttp.ClientTimeout(total=within_s)
    context = reach.context or ssl.create_default_context()
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout,
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(
                    resolver=Fixed(), ssl=context, force_close=True, socket_factory=opened
                ),
            ) as session,
            session.get(
                f"https://{place}{PATH}",
                headers=HEADERS,
                allow_redirects=False,
            ) as answer,
        ):
            why = _unfit(host, answer.status, answer.content_type)
            if why is not None:
                return why
            body = bytearray()
            while len(body) <= FILE_OCTETS and (more := await answer.content.read(FILE_OCTETS)):
                body += more
    except TimeoutError:
        return Fetched(why=f"{host} does not answer in time", unknown=True)
    except aiohttp.ClientConnectorCertificateError as error:
        found = error.certificate_error
        words = getattr(found, "verify_message", "") or "it is not valid"
        return Fetched(why=f"the certificate of {host} does not hold: {words}")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        why_not = f"{host} cannot be asked ({type(error).__name__})"
        return Fetched(why=why_not, unknown=True)
    finally:
        await _closed(sockets)
    if len(body) > FILE_OCTETS:
        return Fetched(why=f"the file at {host} is larger than {FILE_OCTETS} bytes")
    return Fetched(text=body.decode("utf-8", "replace"))


async def _closed(sockets: Sequence[socket.socket]) -> None:
    """TLS waits for the other side's goodbye, longer than this loop lives: we do not."""
    for one in sockets:
        with contextlib.suppress(OSError):  # it is closed already
            one.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            # A socket tells nobody that it was closed.
            while any(one.fileno() >= 0 for one in sockets):  # noqa: ASYNC110
                await asyncio.sleep(0.001)


def _unfit(host: str, status: int, media_type: str) -> Fetched | None:
    """Why an answer is no policy, by its head."""
    if status >= 500:
        return Fetched(why=f"{host} answers {status}", unknown=True)
    if 300 <= status < 400:
        return Fetched(why=f"{host} answers with a redirect ({status}), which is not followed")
    if status != 200:
        return Fetched(why=f"{host} answers {status} for {PATH}")
    if media_type != "text/plain":
        return Fetched(why=f"the file at {host} is of type {media_type[:60]}, not text/plain")
    return None


def _place(host: str, address: str, port: int) -> dict[str, Any]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return {
        "hostname": host,
        "host": address,
        "port": port,
        "family": family,
        "proto": socket.IPPROTO_TCP,
        "flags": numeric,
    }
