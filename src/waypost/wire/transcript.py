"""What was said on a connection, for the person who asks why: `C:` and `S:` lines.

Promises: cheap enough to be always on (it keeps references and renders when asked), masked by those
who write into it, printable, at most 4 KB. Knows nothing of SMTP's course.
"""

from __future__ import annotations

from waypost.core.reply import Reply, printable

TRANSCRIPT_OCTETS = 4_096  # the contract, section 6
LINE_OCTETS = 200
_HALF = TRANSCRIPT_OCTETS // 2 - 8
_CUT = "\n[...]\n"


class Transcript:
    """Of one connection, from its beginning or from the last `clear` on.

    `add` takes commands as they were written (octets), a line that stands for what is not shown, as
    a secret (text), or a reply.
    """

    __slots__ = ("_entries", "add", "clear")

    def __init__(self) -> None:
        self._entries: list[bytes | str | Reply] = []
        self.add = self._entries.append
        self.clear = self._entries.clear

    def text(self) -> str:
        """All of it; where it is too long, its beginning and its end."""
        rendered: list[str] = []
        for entry in self._entries:
            if isinstance(entry, Reply):
                last = len(entry.lines) - 1
                rendered += (
                    f"S: {entry.code}{'-' if index < last else ' '}{printable(line, LINE_OCTETS)}"
                    for index, line in enumerate(entry.lines)
                )
            elif isinstance(entry, bytes):
                rendered += (
                    f"C: {printable(line, LINE_OCTETS)}"
                    for line in entry.decode("ascii", "replace").split("\r\n")
                    if line
                )
            else:
                rendered.append(f"C: {printable(entry, LINE_OCTETS)}")
        whole = "\n".join(rendered)
        if len(whole) <= TRANSCRIPT_OCTETS:
            return whole
        return whole[:_HALF] + _CUT + whole[-_HALF:]
