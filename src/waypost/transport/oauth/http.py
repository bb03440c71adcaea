"""One question to a token server: a form is posted, a small JSON answer comes back.

Promises bounds on time and size, no redirects, no proxy of the environment, and verified TLS but to
this machine itself. Raises `TokenAway` for everything that is not an answer. Knows nothing of what
the form means.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from waypost.core.errors import UsageError
from waypost.upstream.oauth import TokenAway

ASK_S = 20.0
ANSWER_OCTETS = 65_536


def checked_url(text: str, field: str) -> str:
    """An https URL, or http on this machine. Raises `UsageError`."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    plain = parts.scheme == "http" and loopback(host)
    odd = not text.isascii() or not text.isprintable() or " " in text or len(text) > 2_000
    if not host or odd or parts.username is not None or not (plain or parts.scheme == "https"):
        raise UsageError("expected an https:// address (http:// only for this machine)", field)
    return text


def loopback(host: str) -> bool:
    """Whether the host is this machine by its very name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def post(url: str, form: Mapping[str, str], ask_s: float = ASK_S) -> tuple[int, bytes]:
    """Status and body of the answer. Raises `TokenAway`."""
    import aiohttp  # a fifth of a second that only logins by token pay

    host = urlsplit(url).hostname or "the token server"
    try:
        timeout = aiohttp.ClientTimeout(total=ask_s)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False, max_line_size=8_190) as session,
            session.post(
                url,
                data=dict(form),
                headers={"Accept": "application/json"},
                allow_redirects=False,
            ) as answer,
        ):
            body = await answer.content.read(ANSWER_OCTETS + 1)
            while len(body) <= ANSWER_OCTETS and (more := await answer.content.read(ANSWER_OCTETS)):
                body += more
            status = answer.status
    except TimeoutError as error:
        raise TokenAway(f"{host} does not answer in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TokenAway(f"{host} cannot be asked ({type(error).__name__})") from error
    if len(body) > ANSWER_OCTETS:
        raise TokenAway(f"{host} answers without end")
    if 300 <= status < 400:
        raise TokenAway(f"{host} answers {status}: redirects are not followed")
    return status, body
