"""Who asks: cookies, the token against forged requests, and the security headers of every page.

Promises that a changing request carries the token of its own session, or (before there is one) of
its own visit, and does not come from another site. Knows nothing of accounts.

The session's cookie is `__Host-waypost`, Secure, where the page came over https (the listener's
own, or that of a proxy named in `trusted_proxies`); over plain http, which is for one machine or a
private network, browsers would not keep such a one, and it is `waypost`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from types import MappingProxyType

from waypost.core.errors import Secret
from waypost.web import Failure

SESSION = "waypost"
VISIT = "waypost-visit"
NOTICE = "waypost-notice"
FIELD = "csrf"
HEADER = "x-csrf-token"
COOKIE_S = 30 * 86_400
VISIT_S = 86_400
HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
        "Cache-Control": "no-store",
    }
)


def cookies_of(header: str) -> dict[str, str]:
    """The cookies of a request.

    Cookies know no ports, so another program on this host may have set some with anything in them:
    what is none by RFC 6265 4.1 takes none of ours away.
    """
    pairs = (part.partition("=") for part in header.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def cookie_name(name: str, https: bool) -> str:
    return f"__Host-{name}" if https else name


def cookie(name: str, value: str, https: bool, age_s: int) -> str:
    """A Set-Cookie line; an empty value takes the cookie away."""
    age = age_s if value else 0
    line = f"{cookie_name(name, https)}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}"
    return f"{line}; Secure" if https else line


def token_of(secret: Secret, account: str | None = None) -> str:
    """The token against forged requests that belongs to a session's or a visit's secret.

    It is of the account looked at too: a form of a page that is still open from the time before
    another account was chosen would do its deed there (a new member of an account, sent while an
    operator looks at all, would be an operator).
    """
    text = secret.reveal() + ("" if account is None else f":{account}")
    return hashlib.sha256(b"csrf:" + text.encode("utf-8", "surrogateescape")).hexdigest()


def must_be_own(token: str, given: str, headers: Mapping[str, str]) -> None:
    """Raises `Failure` 403 unless the request was made by a page of ours, with that token."""
    # Browsers that send it say where a request came from; the token is for all of them.
    site = headers.get("sec-fetch-site", "same-origin")
    right = token != "" and hmac.compare_digest(
        token.encode(), given.encode("utf-8", "surrogateescape")
    )
    if site not in ("same-origin", "none") or not right:
        raise Failure(
            403,
            "FORBIDDEN",
            "This form is too old, of another account, or came from elsewhere: load the page again",
        )


def local_path(text: str) -> str:
    """A path of this site to go on to, `/` for anything else (an address of another site)."""
    plain = text.startswith("/") and not text.startswith(("//", "/\\"))
    # It becomes a header: no line ends, and nothing that Latin-1 cannot say.
    return text if plain and text.isascii() and text.isprintable() and "\\" not in text else "/"
