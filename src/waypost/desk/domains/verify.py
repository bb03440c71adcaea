"""Reading a received message for whoever asks why it went to spam.

Knows nothing of headers and signatures.
"""

from __future__ import annotations

from waypost.core.errors import WaypostError
from waypost.desk.domains.views import MessageReadingView, of_reading
from waypost.domain.answers import Ask
from waypost.domain.verify import run


def verify(ask: Ask, octets: bytes, now_ms: int) -> MessageReadingView:
    """The reading. Raises `WaypostError` for what is no message at all."""
    reading = run.read(ask, octets, now_ms // 1000)
    if not reading.fields:
        raise WaypostError("there is no message in it: a header with From, then an empty line")
    return of_reading(reading)
