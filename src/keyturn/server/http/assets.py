"""Files that ship inside the package and are served to browsers: scripts, style sheets, images."""

import functools
import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .routes import Page

#: What is served, by the end of its name. Any other file of a directory is not.
CONTENT_TYPES = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".png": "image/png",
        ".svg": "image/svg+xml",
        ".txt": "text/plain; charset=utf-8",
        ".woff2": "font/woff2",
        ".yaml": "application/yaml",
    }
)

#: With the content's hash in the address, what is behind it never changes.
_FOR_EVER = "public, max-age=31536000, immutable"
#: Kept, but asked for again each time.
_CHECKED = "no-cache"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file's content. `digest` names it; `zipped` is None where gzip saves nothing."""

    body: bytes
    zipped: bytes | None
    digest: str
    content_type: str

    def answer(self, request: Request, cache_control: str) -> Response:
        """The answer to a GET or HEAD of it (RFC 9110, 8.8.3 and 13.1.2)."""
        headers = {"Cache-Control": cache_control}
        body, tag = self.body, f'"{self.digest}"'
        if self.zipped is not None:
            headers["Vary"] = "Accept-Encoding"
            if _takes_gzip(request):
                # Other bytes, so another tag.
                body, tag = self.zipped, f'"{self.digest}-gzip"'
                headers["Content-Encoding"] = "gzip"
        headers["ETag"] = tag
        if _is_known(request, tag):
            headers.pop("Content-Encoding", None)
            return Response(status_code=304, headers=headers)
        headers["Content-Type"] = self.content_type
        return Response(body, headers=headers)


class Assets:
    """The files of one directory, read at the start: no request ever names a path.

    They must be few and small, for they stay in memory. Directories below are not looked into.
    """

    def __init__(self, directory: Traversable, at: str = "/console/assets") -> None:
        """`at`: the path that they are served below, without a final slash."""
        self._at = at
        self._files = {
            entry.name: asset(entry.name, entry.read_bytes())
            for entry in directory.iterdir()
            if PurePosixPath(entry.name).suffix in CONTENT_TYPES and entry.is_file()
        }

    def url(self, name: str) -> str:
        """Where a page finds a file, for as long as its content is this. Raises KeyError."""
        return f"{self._at}/{name}?v={self._files[name].digest}"

    @property
    def page(self) -> Page:
        """What serves them."""
        return Page(f"{self._at}/{{name}}", {"GET": self.answer})

    async def answer(self, request: Request) -> Response:
        """One file. Raises HTTPException 404."""
        asset = self._files.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        fixed = request.query_params.get("v") == asset.digest
        return asset.answer(request, _FOR_EVER if fixed else _CHECKED)


@functools.cache  # services are opened more than once in a process, and to compress takes a while
def asset(name: str, body: bytes) -> Asset:
    """A file of this content. Raises KeyError when its name ends with none of CONTENT_TYPES."""
    zipped = gzip.compress(body, 6, mtime=0)  # 9 takes twice the time for 0.4 %
    digest = hashlib.sha256(body).hexdigest()[:32]
    kind = CONTENT_TYPES[PurePosixPath(name).suffix]
    return Asset(body, zipped if len(zipped) < len(body) else None, digest, kind)


def _takes_gzip(request: Request) -> bool:
    """RFC 9110, 12.5.3: a named coding, or `*`, unless its weight is 0."""
    weights: dict[str, bool] = {}
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, weight = part.partition(";")
        quality = weight.strip().removeprefix("q=")
        weights[coding.strip()] = bool(quality.strip("0.")) or not weight
    return weights.get("gzip", weights.get("*", False))


def _is_known(request: Request, tag: str) -> bool:
    """RFC 9110, 13.1.2: compared weakly."""
    given = {part.strip() for part in request.headers.get("if-none-match", "").split(",")}
    return bool(given & {tag, f"W/{tag}", "*"})
