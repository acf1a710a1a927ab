"""The allow-list of URLs holds against what people try to get past one."""

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.errors import DispatchFailed
from app.spawning.outbound.urls import UrlPrefix, allowed

PREFIXES = [
    UrlPrefix.parse(text) for text in ("https://workers.example/run", "http://127.0.0.1:8080/", "http://[::1]/a/b/")
]


@pytest.mark.parametrize(
    "url",
    [
        "https://workers.example/run",
        "https://workers.example/run/",
        "https://workers.example:443/run/fast?x=1&y=../..",
        "HTTPS://Workers.Example/run/a%20b",
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8080/anything//at/all",
        "http://[::1]/a/b/c",
        "http://[::1]:80/a/b",
    ],
)
def test_what_a_prefix_covers_is_allowed(url: str) -> None:
    """Scheme, host and port as URLs have them, the path by whole segments."""
    assert str(allowed(url, PREFIXES))


@pytest.mark.parametrize(
    "url",
    [
        "http://workers.example/run",
        "https://workers.example:444/run",
        "https://workers.example/",
        "https://workers.example/runner",
        "https://workers.example/Run",
        "https://workers.example.evil.test/run",
        "https://workers.example./run",
        "https://evil.test/run",
        "https://evil.test/?https://workers.example/run",
        "https://workers.example@evil.test/run",
        "https://workers.example:443@evil.test/run",
        "https://user@workers.example/run",
        "https://user:password@workers.example/run",
        "https://@workers.example/run",
        "https://workers.example/run/../admin",
        "https://workers.example/run/..",
        "https://workers.example/x/../run",
        "https://workers.example/run/./x",
        "https://workers.example/run/%2e%2e/admin",
        "https://workers.example/run/%2E./admin",
        "https://workers.example/run/%252e%252e/admin",
        "https://workers.example/run/%25252525252e/x",
        "https://workers.example/run%2f..%2fadmin",
        "https://workers.example/run%2Fadmin",
        "https://workers.example/run/..;/admin",
        "https://workers.example/run\\..\\admin",
        "https://workers.example/run/%5c..%5cadmin",
        "https:\\\\workers.example\\run",
        "https://evil.test\\@workers.example/run",
        "https://evil.test#@workers.example/run",
        "https://workers.example/run#x",
        "https://workers.example/run/\n",
        "https://workers.example/run/%0d%0aHost:%20evil.test",
        "https://workers.example/run/%00",
        " https://workers.example/run",
        "https://workers。example/run",
        "https:workers.example/run",
        "//workers.example/run",
        "/run",
        "https:///run",
        "ftp://workers.example/run",
        "file:///etc/passwd",
        "http://127.1:8080/",
        "http://2130706433:8080/",
        "http://localhost:8080/",
        "http://[::1]:8080/",
        "http://127.0.0.1:99999/",
        "http://[::1/a/b",
        "",
    ],
)
def test_what_no_prefix_covers_is_refused(url: str) -> None:
    """Neither other places nor other spellings of this one get through."""
    with pytest.raises(DispatchFailed):
        allowed(url, PREFIXES)


def test_the_refusal_says_what_is_allowed() -> None:
    """In the same spelling for each."""
    with pytest.raises(
        DispatchFailed, match=r"https://workers\.example:443/run, http://127\.0\.0\.1:8080/, http://\[::1\]:80/a/b"
    ):
        allowed("https://evil.test/", PREFIXES)
    with pytest.raises(DispatchFailed, match="none"):
        allowed("https://evil.test/", [])


@pytest.mark.parametrize(
    "prefix", ["workers.example", "https://", "https://a/?q", "https://u@a/", "https://a/../b", "*"]
)
def test_a_setting_that_is_no_prefix_is_refused(prefix: str) -> None:
    """At start, not at the first call."""
    with pytest.raises(ValueError, match="is not a URL prefix"):
        UrlPrefix.parse(prefix)


@pytest.mark.parametrize(
    "url",
    [
        "https://xn--.example/",
        "https://xn--a-.example/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 130}example/",
        "https://a..example/",
        "https://.example/",
        "https://workers.example:0/run",
        "http://127.0.0.1:0/",
        "https://workers.example:65536/run",
        "https://workers.example:-1/run",
        "https://[::1/",
        "https://[::zz]/",
    ],
)
def test_a_host_or_port_that_cannot_be_called_is_refused_where_it_is_given(url: str) -> None:
    """Both in a dispatch and in the settings, with a reason and as the caller's mistake."""
    with pytest.raises(DispatchFailed, match="the URL cannot be used"):
        allowed(url, PREFIXES)
    with pytest.raises(ValueError, match="is not a URL prefix"):
        UrlPrefix.parse(url)


_HOSTS = st.text(alphabet="ax-.0129:[]%@\\xn", max_size=80)


@given(scheme=st.sampled_from(["http", "https", "ftp", ""]), host=_HOSTS, port=st.integers(-2, 70_000), path=st.text())
@example(scheme="https", host="xn--", port=443, path="")
def test_no_text_gets_past_as_a_url_that_cannot_be_requested(scheme: str, host: str, port: int, path: str) -> None:
    """Whatever is given either is refused as the caller's mistake, or can be put into a request."""
    for text in (f"{scheme}://{host}:{port}/{path}", f"{scheme}://{host}{path}", path):
        try:
            prefix = UrlPrefix.parse(text)
            url = allowed(text, [prefix])
        except (DispatchFailed, ValueError):
            continue
        httpx.Request("POST", url)
        assert url.port != 0
