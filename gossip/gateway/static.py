"""The live page: a few files that never change while the gateway runs, each with its ETag, under a strict policy.

Invariant: the page loads nothing from elsewhere and runs nothing but its own modules; whatever the cluster says is text to it.
No file says anything of the cluster, so who lacks the token may have them: the page asks for the token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from .problems import Problem
from .requests import Query

FOLDER = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # where known, the browser itself refuses innerHTML
        "trusted-types 'none'",
    ]
)
HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked for again with its ETag
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file of the page, as it is sent."""

    body: bytes
    etag: str
    media_type: str

    @classmethod
    def read(cls, path: Path) -> File:
        """From the package."""
        body = path.read_bytes()
        return cls(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', TYPES[path.suffix])

    def answer(self, held: str) -> Response:
        """The file, or 304 for who holds it: `held` is what If-None-Match says."""
        headers = {**HEADERS, "ETag": self.etag}
        if self.etag in (tag.strip().removeprefix("W/") for tag in held.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


class Static:
    """`/` and `/page/…`."""

    def __init__(self) -> None:
        self._files: Mapping[str, File] = {path.name: File.read(path) for path in FOLDER.iterdir() if path.suffix in TYPES}

    async def index(self, request: Request) -> Response:
        """The page itself."""
        return self._file(request, "index.html")

    async def file(self, request: Request) -> Response:
        """What the page is made of."""
        return self._file(request, request.path_params["name"])

    def _file(self, request: Request, name: str) -> Response:
        Query(request, ())
        file = self._files.get(name)
        if file is None:
            raise Problem(404, "The page has no such file. GET / is the page, GET /v1/openapi.json lists all calls.")
        return file.answer(request.headers.get("if-none-match", ""))
