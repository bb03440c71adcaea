"""A letter as the octets of a message (RFC 5322, RFC 2045 to 2049, RFC 2183, RFC 2387).

    mixed                       files that stand on their own
      alternative               text and HTML
        text
        related                 HTML and what it shows by its Content-ID
          html, files

A level that would hold one part is left out. Promises CR LF after every line, lines of at most 998
octets, and the same octets for the same letter and boundary. Date, Message-ID and Received are put
on top by the rules that all mail goes through. Knows nothing of accounts and limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from waypost.intake.http.encode import (
    address_field,
    base64_lines,
    parameter,
    text_body,
    text_field,
)
from waypost.intake.http.letter import File, Letter

Part = tuple[str, Iterable[bytes]]
"""The header of a part, without the empty line, and its octets, which end in CR LF."""


def compose(letter: Letter, mark: str) -> Iterator[bytes]:
    """The message in pieces. `mark`: characters that nobody can guess, for the boundaries."""
    head, body = _body(letter, mark)
    fields = [address_field("From", [(letter.sender_name, str(letter.sender))])]
    fields.append(address_field("To", letter.to))
    if letter.cc:
        fields.append(address_field("Cc", letter.cc))
    if letter.reply_to:
        fields.append(address_field("Reply-To", letter.reply_to))
    fields.append(text_field("Subject", letter.subject))
    fields += [text_field(name, value) for name, value in letter.headers]
    yield f"{''.join(fields)}MIME-Version: 1.0\r\n{head}\r\n".encode("ascii")
    yield from body


def _body(letter: Letter, mark: str) -> Part:
    shown = [file for file in letter.files if file.content_id and letter.html is not None]
    apart = [file for file in letter.files if not any(file is inline for inline in shown)]
    parts: list[Part] = []
    if letter.text is not None:
        parts.append(_text("plain", letter.text))
    if letter.html is not None:
        html = _text("html", letter.html)
        if shown:
            files = [_file(file, "inline") for file in shown]
            html = _multipart('related; type="text/html"', [html, *files], f"=_r{mark}")
        parts.append(html)
    body = parts[0] if len(parts) == 1 else _multipart("alternative", parts, f"=_a{mark}")
    if not apart:
        return body
    files = [_file(file, "attachment") for file in apart]
    return _multipart("mixed", [body, *files], f"=_m{mark}")


def _text(subtype: str, text: str) -> Part:
    encoding, octets = text_body(text)
    head = (
        f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n"
    )
    return head, octets


def _file(file: File, disposition: str) -> Part:
    head = (
        f"Content-Type: {_type(file.content_type)}\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        f"Content-Disposition: {disposition}{parameter('filename', file.filename)}\r\n"
    )
    if file.content_id:
        head += f"Content-ID: <{file.content_id}>\r\n"
    return head, base64_lines(file.content)


def _type(content_type: str) -> str:
    """The media type with a fold before each parameter."""
    return content_type.replace("; ", ";").replace(";", ";\r\n ")


def _multipart(subtype: str, parts: list[Part], boundary: str) -> Part:
    return (
        f'Content-Type: multipart/{subtype};\r\n boundary="{boundary}"\r\n',
        _joined(parts, boundary),
    )


def _joined(parts: list[Part], boundary: str) -> Iterator[bytes]:
    """The parts between their delimiters (RFC 2046 5.1.1)."""
    for head, octets in parts:
        yield f"--{boundary}\r\n{head}\r\n".encode("ascii")
        yield from octets
    yield f"--{boundary}--\r\n".encode("ascii")
