"""A receiver can tell who sent a request, that it is whole, and that it is fresh."""

import base64
import hashlib
import hmac
import time

import pytest
from standardwebhooks import Webhook

from app.spawning.outbound.signing import SIGNATURE, TIMESTAMP, SignatureInvalid, check_secret, sign, verify

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32
BODY = b'{"task_id":"T-1"}'


def test_the_signature_is_what_the_description_says() -> None:
    """Timestamp, a dot and the raw body, under HMAC-SHA256, in hexadecimal."""
    expected = hmac.new(NEW, b"1735689600." + BODY, hashlib.sha256).hexdigest()

    headers = sign([NEW], BODY, id="m-1", at_s=1735689600)
    assert (headers[TIMESTAMP], headers[SIGNATURE]) == ("1735689600", f"v1={expected}")


@pytest.mark.parametrize("known", [[NEW], [OLD], [OTHER, NEW]])
def test_any_shared_secret_verifies(known: list[bytes]) -> None:
    """Both sides may be in the middle of a rotation."""
    verify(known, sign([NEW, OLD], BODY, id="m-1", at_s=1000), BODY, now_s=1100)


def test_header_names_are_read_in_any_case() -> None:
    """As HTTP has it (RFC 9110, section 5.1)."""
    headers = {name.upper(): value for name, value in sign([NEW], BODY, id="m-1", at_s=1000).items()}
    verify([NEW], headers, BODY, now_s=1000)


@pytest.mark.parametrize(
    ("changed", "body", "now_s", "words"),
    [
        ({}, BODY + b" ", 1000, "no signature fits"),
        ({}, BODY, 1301, "too far"),
        ({}, BODY, 699, "too far"),
        ({TIMESTAMP: "1001"}, BODY, 1000, "no signature fits"),
        ({TIMESTAMP: "01000"}, BODY + b"!", 1000, "no signature fits"),
        ({TIMESTAMP: "-1000"}, BODY, 1000, "whole seconds"),
        ({TIMESTAMP: "\u0661\u0660\u0660\u0660"}, BODY, 1000, "whole seconds"),
        ({TIMESTAMP: ""}, BODY, 1000, "whole seconds"),
        ({TIMESTAMP: "9" * 400}, BODY, 1000, "whole seconds"),
        ({SIGNATURE: ""}, BODY, 1000, "no signature fits"),
        ({SIGNATURE: "v1="}, BODY, 1000, "no signature fits"),
        ({SIGNATURE: "v1=é"}, BODY, 1000, "no signature fits"),
    ],
)
def test_whatever_was_changed_is_refused(changed: dict[str, str], body: bytes, now_s: float, words: str) -> None:
    """Body, time and signature belong together, and age has a limit."""
    headers = sign([NEW], BODY, id="m-1", at_s=1000) | changed
    with pytest.raises(SignatureInvalid, match=words):
        verify([NEW], headers, body, now_s=now_s)


def test_another_secret_and_no_headers_are_refused() -> None:
    """Nothing verifies by being absent."""
    with pytest.raises(SignatureInvalid):
        verify([OTHER], sign([NEW], BODY, id="m-1", at_s=1000), BODY, now_s=1000)
    with pytest.raises(SignatureInvalid):
        verify([NEW], {}, BODY, now_s=1000)
    with pytest.raises(SignatureInvalid):
        verify([], sign([NEW], BODY, id="m-1", at_s=1000), BODY, now_s=1000)


def test_the_library_of_standard_webhooks_verifies_each_secret() -> None:
    """A secret of that form is keyed with the bytes that it stands for, another one with its own."""
    known = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    headers = sign([NEW, known.encode()], BODY, id="m-1", at_s=int(time.time()))
    for secret in (NEW, known):
        Webhook(secret).verify(BODY, headers)


@pytest.mark.parametrize("secret", [b"s" * 31, b"whsec_" + b"=" * 40, b"whsec_!" + b"A" * 40, b"whsec_" + b"A" * 28])
def test_a_secret_that_is_too_short_or_no_base64_is_refused(secret: bytes) -> None:
    """Before anything is signed with it."""
    with pytest.raises(ValueError, match=r"Base64|bytes or more"):
        check_secret(secret)
