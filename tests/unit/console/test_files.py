import gzip
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from app.console.files import STATIC, read_files
from app.console.routes import console_routes
from tests.support.sources import ROOT

VENDOR = STATIC / "vendor"
PARSE = """
const { SourceTextModule } = require("node:vm");
for (const name of process.argv.slice(1))
  new SourceTextModule(require("node:fs").readFileSync(name, "utf8"), { identifier: name });
"""
SCRIPTS = sorted((STATIC / "js").rglob("*.js"))


@pytest.fixture
async def client() -> httpx.AsyncClient:
    """A client of the console's routes alone."""
    transport = httpx.ASGITransport(Starlette(routes=console_routes()))
    return httpx.AsyncClient(transport=transport, base_url="http://console")


def test_the_vendored_libraries_are_those_of_the_manifest() -> None:
    """Every file has the digest that was written down when it was made, and there is no other."""
    manifest = json.loads((VENDOR / "manifest.json").read_text())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir()}
    del found["manifest.json"]

    assert found == manifest["files"]
    assert all({"name", "version", "licence", "integrity"} <= library.keys() for library in manifest["libraries"])


def test_the_libraries_are_those_of_the_lock() -> None:
    """The manifest's versions and digests are the lock's."""
    manifest = json.loads((VENDOR / "manifest.json").read_text())
    lock = json.loads((ROOT / "app/console/vendor/package-lock.json").read_text())["packages"]

    for library in manifest["libraries"]:
        locked = lock[f"node_modules/{library['name']}"]
        assert (library["version"], library["integrity"]) == (locked["version"], locked["integrity"])


def test_no_code_is_made_from_text() -> None:
    """Nothing that is served evaluates text, so that the policy without `unsafe-eval` holds."""
    evaluating = re.compile(r"\bnew Function\b|\beval\(|document\.write|insertAdjacentHTML|[\"'`]javascript:[^\"]")
    own = re.compile(r"innerHTML|outerHTML|dangerouslySetInnerHTML|localStorage\.setItem\([^)]*token")

    assert [path.name for path in STATIC.rglob("*.js") if evaluating.search(path.read_text())] == []
    assert [path.name for path in SCRIPTS if own.search(path.read_text())] == []


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    """Scripts and styles are files of the server's own."""
    page = (STATIC / "index.html").read_text()

    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", page) == []
    assert all((STATIC / name).is_file() for name in re.findall(r'"/console/assets/([^"]+)"', page))


def test_scripts_import_only_what_is_there() -> None:
    """Every import names a file below the folder."""
    for path in SCRIPTS:
        for name in re.findall(r'(?<!")\b(?:from|import)\s*\(?"([^"]+)"', path.read_text()):
            assert name.startswith("."), f"{path.name}: {name}"
            target = (path.parent / name).resolve()
            assert target.is_file(), f"{path.name}: {name}"
            assert target.is_relative_to(STATIC)


def test_scripts_are_small() -> None:
    """One noun per file, as everywhere."""
    assert {
        path.name: len(path.read_text().splitlines()) for path in SCRIPTS if len(path.read_text().splitlines()) > 200
    } == {}


@pytest.mark.skipif(shutil.which("node") is None, reason="no node is installed")
def test_scripts_are_javascript() -> None:
    """node parses each of them as a module."""
    names = [str(path) for path in SCRIPTS if path.name != "theme-first.js"]
    subprocess.run(["node", "--experimental-vm-modules", "-e", PARSE, *names], check=True, timeout=60)


async def test_the_page_is_asked_for_again_and_its_files_are_not(client: httpx.AsyncClient) -> None:
    """The page names its files by the digest of all, so that they may be kept for good."""
    page = await client.get("/console")
    asset = re.search(r"/console/assets/[0-9a-f]{16}/js/main\.js", page.text)
    assert asset is not None
    found = await client.get(asset.group())

    assert page.headers["cache-control"] == "no-cache"
    assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert found.headers["content-type"] == "text/javascript; charset=utf-8"
    again = await client.get(asset.group(), headers={"If-None-Match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_the_root_leads_to_the_page(client: httpx.AsyncClient) -> None:
    """Whoever opens the server's address in a browser is at the console."""
    found = await client.get("/")

    assert (found.status_code, found.headers["location"]) == (302, "/console")


def test_the_scripts_are_small_in_transfer() -> None:
    """Compressed as they are sent: all of them together, and all but what few pages load."""
    scripts = {name: file for name, file in read_files().assets.items() if name.endswith(".js")}
    sizes = {name: len(file.compressed or file.body) for name, file in scripts.items()}

    assert sum(sizes.values()) < 250_000
    # These are loaded with the first question that needs the parser, and with the page of webhooks.
    later = ("vendor/markdown.js", "js/views/webhooks.js", "js/state/webhooks.js")
    assert sum(sizes.values()) - sum(sizes[name] for name in later) < 160_000


async def test_a_file_of_another_version_is_never_kept_for_good(client: httpx.AsyncClient) -> None:
    """During an upgrade, a page may ask for files under a digest that this server does not know."""
    found = await client.get("/console/assets/0123456789abcdef/js/main.js")

    assert (found.status_code, found.headers["cache-control"]) == (200, "no-cache")


async def test_every_reply_has_the_policy(client: httpx.AsyncClient) -> None:
    """Pages, files and what is not there."""
    digest = read_files().digest
    for path in (
        "/console",
        "/console/",
        f"/console/assets/{digest}/css/base.css",
        f"/console/assets/{digest}/none.js",
    ):
        headers = (await client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "name", ["..%2f__init__.py", "%2e%2e/files.py", "js/%2e%2e/%2e%2e/files.py", "%2fetc/passwd", "index.html"]
)
async def test_nothing_outside_the_folder_is_served(client: httpx.AsyncClient, name: str) -> None:
    """Files are looked up among those that were read, never on the disk."""
    found = await client.get(f"/console/assets/{read_files().digest}/{name}")

    assert found.status_code == 404


async def test_files_are_compressed_for_who_takes_it(client: httpx.AsyncClient) -> None:
    """The same content either way."""
    path = f"/console/assets/{read_files().digest}/vendor/schemas.js"
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    small = await client.send(client.build_request("GET", path, headers={"Accept-Encoding": "gzip"}), stream=True)
    raw = b"".join([part async for part in small.aiter_raw()])

    assert small.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 2


def test_the_files_of_a_folder_change_its_digest(tmp_path: Path) -> None:
    """Whatever changes in any file is another version."""
    (tmp_path / "index.html").write_text('<script src="/console/assets/a.js">')
    (tmp_path / "a.js").write_text("1")
    before = read_files(tmp_path)
    (tmp_path / "a.js").write_text("2")

    assert read_files(tmp_path).digest != before.digest
    assert f"/console/assets/{before.digest}/a.js" in before.page.body.decode()
