"""150 hostile strings, and what a page that shows them must not hold."""

from __future__ import annotations

import contextlib
from html.parser import HTMLParser
from pathlib import Path

from waypost.store.connect import connect, transaction

MARK = "waypostpoison"
PEOPLE = 90
_SCRIPTS = (
    f"<script>window.{MARK}=1;alert(1)</script>",
    f'<img src=x onerror="window.{MARK}=1;alert(1)">',
    f"<svg/onload=window.{MARK}=1>",
    f'"><script>window.{MARK}=1</script>',
    f"'><script>window.{MARK}=1</script>",
    f'" onmouseover="window.{MARK}=1" x="',
    f"' onfocus='window.{MARK}=1' autofocus='",
    f"javascript:window.{MARK}=1",
    f"</td></tr></table><script>window.{MARK}=1</script>",
    f"</title><script>window.{MARK}=1</script>",
    f"</textarea></select><script>window.{MARK}=1</script>",
    f"--><script>window.{MARK}=1</script>",
    f'<iframe srcdoc="<script>parent.{MARK}=1</script>"></iframe>',
    f'<a href="javascript:window.{MARK}=1">x</a>',
    f"<form action=https://evil.example><input name=csrf autofocus onfocus=window.{MARK}=1>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example/>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    f'<div hx-get="/logs" hx-trigger="load" hx-on:load="window.{MARK}=1">',
    f"<body onload=window.{MARK}=1>",
    "{{ 7*7 }}{% raw %}{{ ask }}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "&lt;script&gt;&#60;script&#62;&amp;",
    f"<ScRiPt>window.{MARK}=1</sCrIpT>",
    f"<details open ontoggle=window.{MARK}=1>",
)
_FORMULAS = (
    "=HYPERLINK(\"https://evil.example\",\"x\")", "=cmd|' /C calc'!A0", "+1+1", "-2+3",
    "@SUM(1+1)", "=1+1\",\"=2+2", " =1+1", "%0A=1+1", "＝1+1", "＋1", "－1", "＠SUM(1)",
    "'=1+1", ";=1+1", ",=1+1",
)  # fmt: skip
_ODD = (
    "\u202egnp.exe", "\u200b\u200c\u200d\ufeff", "a\u0301" * 40, "\U0001f4a9" * 20, "x" * 400,
    "W" * 200 + " " + "W" * 200, "a\tb", "\u2028\u2029", "..\\..\\..\\etc\\passwd",
    "../../../../etc/passwd", "%00%0d%0aSet-Cookie:%20x=1", "'; DROP TABLE message; --",
    "1 OR 1=1", "\" OR \"\"=\"", "`id`", "$(id)", "|| true", "%s%s%n", "NaN", "undefined",
    "null", "true", "__proto__", "constructor", "\\u003cscript\\u003e", "\\x3cscript\\x3e",
    "{\"a\":1}", "[]", "\\", "\"", "'", "<", ">", "&", "<!--", "]]>", "<?php", "<![CDATA[",
    "\u0130\u0131\u017f", "ﷺ" * 20, "ʼ", "．．／", "＜script＞", "｟script｠", "0",
)  # fmt: skip

_BASE = (*_SCRIPTS, *_FORMULAS, *_ODD)
_MORE = tuple(f"{prefix}{text}" for prefix in ("=", "Re: ", "@") for text in _SCRIPTS)
STRINGS = tuple(dict.fromkeys((*_BASE, *_MORE)))[:150]

_URLS = ("href", "src", "action", "formaction", "srcdoc", "data", "poster")


class _Reader(HTMLParser):
    """What a browser would make of a page: elements and attributes that are not ours."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.depth: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("base", "object", "embed", "svg", "math", "style"):
            self.found.append(f"<{tag}>")
        if tag == "script" and not (given.get("src") or "").startswith("/static/"):
            self.found.append("an inline script")
        if tag == "link" and not (given.get("href") or "").startswith("/static/"):
            self.found.append(f"a link to {given.get('href')}")
        if tag == "meta" and "http-equiv" in given:
            self.found.append("<meta http-equiv>")
        if tag == "iframe" and "sandbox" not in given:
            self.found.append("a frame without a sandbox")
        for name, value in attrs:
            if name.startswith(("on", "hx-on")):
                self.found.append(f"{tag} {name}")
            if name in _URLS and not _ours(value or ""):
                self.found.append(f"{tag} {name}={value}")


def _ours(url: str) -> bool:
    return (url.startswith(("/", "#", "?")) and not url.startswith("//")) or url == ""


def poisoned(page: str) -> list[str]:
    """What of a page is not ours."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.found


def write_people(data: Path, account: str, owner: str) -> None:
    """Members with these names and addresses, their deeds in the audit trail, lines of the ledger
    with these notes: written as they are, also what no deed would take.
    """
    with contextlib.closing(connect(data)) as db, transaction(db):
        ((of,),) = db.execute("SELECT id FROM account WHERE name = ?", (account,)).fetchall()
        for number, text in enumerate(STRINGS):
            told = text.encode("utf-8", "replace").decode()
            db.execute(
                "INSERT INTO trail (at, account_id, actor, deed, subject, peer)"
                " VALUES (0, ?, ?, ?, ?, ?)",
                (of, told, told, told, told),
            )
            db.execute(
                "INSERT INTO ledger (account_id, at, amount, reason, note, balance)"
                " VALUES (?, 0, 0, 'topup', ?, 1000)",
                (of, told),
            )
            if number >= PEOPLE:
                continue
            db.execute(
                "INSERT INTO member (email, email_key, name, created_at) VALUES (?, ?, ?, 0)",
                (f"{told}@x.test", f"p{number}@x.test", told if number % 2 else ""),
            )
            db.execute(
                "INSERT INTO membership (member_id, account_id, role)"
                " VALUES (last_insert_rowid(), ?, 1)",
                (of,),
            )
            db.execute(
                "INSERT INTO session"
                " (digest, member_id, peer, agent, created_at, seen_at, expires_at)"
                " SELECT ?, id, ?, ?, ?, last_login_at, ? FROM member"
                " WHERE email = ?",
                (b"%d of them" % number, told[:64], told, number, 2**52, owner),
            )
