"""The composer by the parsers of others: npm's mailparser and fast-mail-parser read in a letter
what was put into it, and no header field more.
"""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

import fast_mail_parser
from hypothesis import HealthCheck, Phase, given, settings

from peers.letters import LETTERS, lines_of, written
from peers.need import need
from waypost.intake.http.letter import File, Letter

LETTERS_READ = 60
FIELDS = {"from", "to", "cc", "subject", "x-own", "mime-version", "content-type"}
FIELDS |= {"content-transfer-encoding", "message-id", "date"}


def some() -> list[Letter]:
    """Letters of every kind."""
    kept: list[Letter] = []

    @given(LETTERS)
    @settings(
        max_examples=LETTERS_READ,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def keep(letter: Letter) -> None:
        # A text that is part of the HTML (by its Content-ID) is to them more of the text.
        if not any(f.content_id and f.content_type.startswith("text") for f in letter.files):
            kept.append(letter)

    keep()
    return kept


def plain(text: str | None) -> str:
    """Without what folding may do to blanks."""
    return " ".join((text or "").split())


def files(letter: Letter) -> list[File]:
    """In the order of the letter as it is written: those of the HTML part first."""
    shown = [file for file in letter.files if file.content_id]
    return [*shown, *(file for file in letter.files if not file.content_id)]


def test_mailparser() -> None:
    (place,) = need("mailparser")
    need("node")
    letters = some()
    done = subprocess.run(
        ["node", f"{place}/parse.mjs"],
        input=json.dumps([base64.b64encode(written(letter)).decode() for letter in letters]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for letter, read in zip(letters, json.loads(done.stdout), strict=True):
        assert set(read["names"]) <= FIELDS
        assert plain(read["subject"]) == plain(letter.subject)
        ((name, address),) = read["from"]
        assert (plain(name), address) == (plain(letter.sender_name), "a@b.test")
        assert [plain(one[0]) for one in read["to"]] == [plain(one[0]) for one in letter.to]
        for said, put in ((read["text"], letter.text), (read["html"], letter.html)):
            assert lines_of(said or "") == lines_of(put or "")
        assert [base64.b64decode(file["content"]) for file in read["files"]] == [
            file.content for file in files(letter)
        ]
        assert [plain(file["name"]) for file in read["files"]] == [
            plain(file.filename) for file in files(letter)
        ]
        assert [file["id"] or "" for file in read["files"]] == [
            file.content_id for file in files(letter)
        ]


def test_fast_mail_parser() -> None:
    for letter in some():
        read: Any = fast_mail_parser.parse_email(written(letter))
        assert {name.lower() for name in read.headers} <= FIELDS
        assert plain(read.subject) == plain(letter.subject)
        assert not read.warnings
        for said, put in ((read.text_plain, letter.text), (read.text_html, letter.html)):
            texts = [t for t in said if t is not None]
            assert lines_of(texts[0] if texts else "") == lines_of(put or "")
        assert [file.content for file in read.attachments] == [f.content for f in files(letter)]
        assert [plain(file.filename) for file in read.attachments] == [
            plain(file.filename) for file in files(letter)
        ]
