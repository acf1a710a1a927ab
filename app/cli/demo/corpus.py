"""The files that the swarm reads: those of the checkout, or of the installed package where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import app

PACKAGE = Path(app.__file__).parent
FOLDERS = ("app", "benchmarks", "clients", "docs", "examples", "openapi", "tests")
ENDINGS = (".md", ".py", ".toml", ".yml", ".yaml", ".json", ".sh", ".txt", ".lock")
TEXTS = "app/cli/demo/texts"
MAX_SOURCES = 40
MAX_DOCUMENTS = 24
MAX_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Corpus:
    """Paths below `root`: documents to read and to summarise, sources to read, and a folder to survey."""

    root: Path
    documents: tuple[str, ...]
    sources: tuple[str, ...]
    surveyed: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The documents and sources."""
        return self.documents + self.sources


def take_snapshot(into: Path) -> Corpus:
    """Copy the files, so that they do not change during the run, and choose from the copy."""
    origin = PACKAGE.parent
    for path in _texts(origin):
        copy = into / path.relative_to(origin)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return choose(into)


def _texts(origin: Path) -> Iterator[Path]:
    """Yield the text files of the package, and of the checkout around it if there is one."""
    checkout = (origin / "pyproject.toml").is_file() and (origin / "app") == PACKAGE
    folders = (".", *(FOLDERS if checkout else ("app",)))
    for folder in folders:
        for at, below, files in os.walk(origin / folder):
            below[:] = [] if folder == "." else [name for name in below if name[0] not in "._"]
            if folder != "." or checkout:
                yield from (Path(at, name) for name in files if name.endswith(ENDINGS) or "." not in name)


def choose(root: Path) -> Corpus:
    """Choose what to read among the files below a root."""
    documents = [*(root / TEXTS).glob("*.md"), *root.glob("*.md"), *(root / "docs").rglob("*.md")]
    sources = [path for path in (root / "app").rglob("*.py") if path.parent.name != "ops"]
    surveyed = [*(root / "app" / "engine" / "ops").glob("*.py")]
    return Corpus(
        root=root,
        documents=_names(root, documents, MAX_DOCUMENTS),
        sources=_names(root, sources, MAX_SOURCES),
        surveyed=_names(root, surveyed, MAX_SOURCES),
    )


def _names(root: Path, paths: list[Path], most: int) -> tuple[str, ...]:
    """Return the sorted paths relative to the root, at most `most` of them, evenly spaced."""
    names = sorted(path.relative_to(root).as_posix() for path in paths if 0 < path.stat().st_size <= MAX_BYTES)
    step = max(1.0, len(names) / most)
    return tuple(names[int(number * step)] for number in range(min(most, len(names))))


def locate(root: Path, name: str) -> Path:
    """Return the file of a name that came with a task. Raises ValueError for one outside the root."""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{name} is outside the folder to read")
    return path
