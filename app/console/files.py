"""The console's files: read once and addressed by digest.

`/console` is one page; everything it loads is under `/console/assets/<digest of all files>/`, so that browsers may
cache it forever and never mix two versions. The files need no credential; the data that the page requests does.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

STATIC = Path(__file__).with_name("static")
PAGE = "index.html"
ASSETS = "/console/assets/"
"""Prefix of every path except the page's own; the page adds the digest."""

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
WORTH_COMPRESSING = 1024


@dataclass(frozen=True)
class File:
    """One file and its media type."""

    media_type: str
    body: bytes

    @cached_property
    def etag(self) -> str:
        """A weak entity tag of the content, equal for both encodings."""
        return f'W/"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    @cached_property
    def compressed(self) -> bytes | None:
        """The gzip-compressed body, None for a small body. Compressed on first use."""
        if len(self.body) < WORTH_COMPRESSING:
            return None
        return gzip.compress(self.body, 9, mtime=0)


@dataclass(frozen=True, slots=True)
class Files:
    """The page and all files that it loads, by path; `digest` changes with any of them."""

    page: File
    assets: dict[str, File]
    digest: str


def read_files(folder: Path = STATIC) -> Files:
    """Read every file below the directory. Raises KeyError for a file type without a media type."""
    assets = {
        path.relative_to(folder).as_posix(): File(MEDIA_TYPES[path.suffix], path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    digest = _digest(assets)
    page = assets.pop(PAGE)
    addressed = page.body.replace(ASSETS.encode(), f"{ASSETS}{digest}/".encode())
    return Files(File(page.media_type, addressed), assets, digest)


def _digest(files: dict[str, File]) -> str:
    total = hashlib.sha256()
    for name, file in files.items():
        total.update(f"{name}\0{len(file.body)}\0".encode() + file.body)
    return total.hexdigest()[:16]
