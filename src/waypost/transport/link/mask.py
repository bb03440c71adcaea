"""Takes a login's secret out of what a server said, should it repeat it.

Promises that a secret is found in any case, in base64, and as PLAIN and XOAUTH2 carry it, at the
cost of a few searches where there is none. Knows nothing of where the texts go.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from waypost.core.errors import Secret
from waypost.core.reply import printable
from waypost.core.upstream import Upstream

_SHORT_CHARACTERS = 4  # below that it is taken for the secret only where it stands alone
MASK = "***"

Mask = Callable[[str], str]


def clear(text: str) -> str:
    """What there is where nothing is secret: the text as it is."""
    return text


def masker(upstream: Upstream, *tokens: Secret) -> Mask:
    """A function that gives the text with every form of the password and the tokens masked."""
    user = upstream.username.encode()
    forms: set[str] = set()
    if upstream.password is not None and upstream.password.reveal():
        octets = upstream.password.reveal().encode()
        forms |= _forms(
            upstream.password,
            (b"\0" + user + b"\0" + octets, user + b"\0" + user + b"\0" + octets, octets),
        )
    for token in tokens:
        octets = token.reveal().encode()
        said = b"user=" + user + b"\x01auth=Bearer " + octets + b"\x01\x01"
        forms |= _forms(token, (said, octets))
    return _masking(forms)


def hide(*secrets: Secret) -> Mask:
    """The same for secrets that stand for themselves."""
    forms: set[str] = set()
    for secret in secrets:
        forms |= _forms(secret, (secret.reveal().encode(),))
    return _masking(forms)


def _forms(secret: Secret, carried: tuple[bytes, ...]) -> set[str]:
    text = secret.reveal()
    forms = {text, printable(text, max(1, len(text)))}
    for octets in carried:
        coded = base64.b64encode(octets).decode()
        forms |= {coded, coded.rstrip("=")}
    return forms - {""}


def _masking(forms: set[str]) -> Mask:
    if not forms:
        return clear
    longest_first = sorted(forms, key=len, reverse=True)
    patterns = [
        re.escape(form) if len(form) >= _SHORT_CHARACTERS else rf"(?<!\w){re.escape(form)}(?!\w)"
        for form in longest_first
    ]
    found = re.compile("|".join(patterns), re.IGNORECASE)
    lowered = tuple({form.lower() for form in forms})

    def mask(text: str) -> str:
        # Nearly every text holds none of them, and a search for each is far cheaper than one for
        # all without regard to case.
        low = text.lower()
        for form in lowered:
            if form in low:
                return found.sub(MASK, text)
        return text

    return mask
