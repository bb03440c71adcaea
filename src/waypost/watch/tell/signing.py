"""How an alert is signed: the headers of Standard Webhooks 1.0.0 (standardwebhooks.com).

    webhook-id         the same at every try of one alert: a receiver drops what it has seen
    webhook-timestamp  seconds since 1970 of this try
    webhook-signature  v1,BASE64 of the HMAC-SHA256 of "id.timestamp.body" under the secret

Pure, but for the secret that is made. Knows nothing of what is told.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
from pathlib import Path

from waypost.clock import Clock
from waypost.core.errors import ConfigError, Secret

PREFIX = "whsec_"
SECRET_OCTETS = 32
FILE = "alerts.secret"


def headers(secret: Secret, ident: str, now_s: int, body: bytes) -> dict[str, str]:
    """The three headers of one try."""
    signed = b"%s.%d.%s" % (ident.encode(), now_s, body)
    mac = hmac.new(octets(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": ident,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def octets(secret: Secret) -> bytes:
    """What the text of a secret stands for. Raises `ConfigError`."""
    try:
        return base64.b64decode(secret.reveal().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"the secret of alerts is not {PREFIX} and base64") from None


def made(data: Path, clock: Clock) -> Secret:
    """The secret of a data directory, made where there is none, for its owner alone to read.

    Raises `ConfigError`.
    """
    path = data / FILE
    try:
        if not path.exists():
            chosen = bytes.fromhex(clock.token("0123456789abcdef", 2 * SECRET_OCTETS))
            text = PREFIX + base64.b64encode(chosen).decode()
            fresh = path.with_name(f"{FILE}.{os.getpid()}")
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another worker was quicker
                os.link(fresh, path)
            fresh.unlink()
        secret = Secret(path.read_text("ascii").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read or made: {error}") from error
    octets(secret)
    return secret
