"""Takes a login's secret out of what a server said, should it repeat it.

Promises that the password is found in any case, in base64, and as PLAIN carries it. Knows nothing
of where the texts go.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from waypost.core.reply import printable
from waypost.core.upstream import Upstream

_SHORT_CHARACTERS = 4  # below that it is taken for the secret only where it stands alone
MASK = "***"


def masker(upstream: Upstream) -> Callable[[str], str]:
    """A function that gives the text with every form of the password masked."""
    if upstream.password is None or not upstream.password.reveal():
        return lambda text: text
    secret = upstream.password.reveal()
    octets, user = secret.encode(), upstream.username.encode()
    plain = (b"\0" + user + b"\0" + octets, user + b"\0" + user + b"\0" + octets, octets)
    forms = {secret, printable(secret)}
    forms |= {base64.b64encode(form).decode() for form in plain}
    forms |= {base64.b64encode(form).decode().rstrip("=") for form in plain}
    patterns = [
        re.escape(form) if len(form) >= _SHORT_CHARACTERS else rf"(?<!\w){re.escape(form)}(?!\w)"
        for form in sorted(forms, key=len, reverse=True)
        if form
    ]
    found = re.compile("|".join(patterns), re.IGNORECASE)
    return lambda text: found.sub(MASK, text)
