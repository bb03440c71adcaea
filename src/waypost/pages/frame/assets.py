"""Static files: read once, each at an address that holds its hash, so that browsers may keep them.

Promises no file but those of the package. Knows nothing of pages.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from importlib.resources.abc import Traversable
from typing import Any

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from waypost.web import failure_of

TYPES = {
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "txt": "text/plain",
}
HASH_CHARACTERS = 12
FOR_EVER = "public, max-age=31536000, immutable"
ICON = "icon.svg"


class Asset(msgspec.Struct, frozen=True):
    """One file. `etag` is quoted."""

    body: bytes
    media_type: str
    etag: str


class Assets:
    """All static files by name."""

    def __init__(self) -> None:
        root = importlib.resources.files("waypost.pages").joinpath("static")
        self._found: dict[str, Asset] = {}
        self._collect(root, "")

    def _collect(self, folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                self._collect(entry, f"{prefix}{entry.name}/")
                continue
            kind = TYPES.get(entry.name.rpartition(".")[2])
            if kind is not None:
                body = entry.read_bytes()
                digest = hashlib.sha256(body).hexdigest()[:HASH_CHARACTERS]
                self._found[prefix + entry.name] = Asset(body, kind, f'"{digest}"')

    def path(self, name: str) -> str:
        """Where a file is served. `KeyError` for one that is not there."""
        return f"/static/{self._found[name].etag.strip(chr(34))}/{name}"

    def handlers(self) -> list[HTTPRouteHandler]:
        """The route of the files, and the icon that browsers ask for by themselves."""

        @get("/static/{digest:str}/{name:path}", sync_to_thread=False)
        def static(request: Request[Any, Any, Any], digest: str, name: str) -> ASGIResponse:
            return self._answer(request, str(name).lstrip("/"), digest)

        @get("/favicon.ico", sync_to_thread=False)
        def icon(request: Request[Any, Any, Any]) -> ASGIResponse:
            return self._answer(request, ICON, "")

        return [static, icon]

    def _answer(self, request: Request[Any, Any, Any], name: str, digest: str) -> ASGIResponse:
        found = self._found.get(name)
        if found is None:
            raise failure_of(404)
        fresh = digest == found.etag.strip('"')
        headers = {
            "ETag": found.etag,
            "Cache-Control": FOR_EVER if fresh else "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if request.headers.get("if-none-match") == found.etag:
            return ASGIResponse(body=b"", status_code=304, headers=headers)
        return ASGIResponse(body=found.body, headers=headers, media_type=found.media_type)
