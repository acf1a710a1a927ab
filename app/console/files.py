"""The console's files: read once, told apart by what they hold, and served so that a browser runs nothing else.

`/console` is one page; everything it loads stands under `/console/assets/<digest of all files>/`, so that a browser may
keep it for good and never mixes two versions. No credential is needed for any of it: what the page shows needs one.
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
"""The beginning of every path but the page's own; in the page itself the digest is added."""

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
    """One file as it is sent."""

    media_type: str
    body: bytes

    @cached_property
    def etag(self) -> str:
        """An entity tag of the content, the same for both encodings (hence weak)."""
        return f'W/"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    @cached_property
    def compressed(self) -> bytes | None:
        """The body in gzip, None where that gains nothing. Made when first asked for."""
        if len(self.body) < WORTH_COMPRESSING:
            return None
        return gzip.compress(self.body, 9, mtime=0)


@dataclass(frozen=True, slots=True)
class Files:
    """The page and what it loads, by path under the folder; `digest` changes with any of them."""

    page: File
    assets: dict[str, File]
    digest: str


def read_files(folder: Path = STATIC) -> Files:
    """Every file below the folder. Raises KeyError for a kind of file that no media type is known for."""
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
