"""Answer links: secrets that let one person answer one question, stored only as keyed digests.

The secret is `al_`, 32 random characters of the id alphabet (160 bits) and a check character. It stands in the fragment
of a URL, which browsers send to nobody.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

from app.domain.clock import Instant
from app.domain.errors import LinkNotFound
from app.domain.handles import check_character
from app.domain.ids import ALPHABET, LETTERS
from app.domain.json import Json

PREFIX = "al_"
PAGE = "/a"
"""The path of the page that reads the secret from its URL's fragment."""
LONGEST_LIFE_MS = 7 * 86_400_000

_RANDOM_LETTERS = 32
_SHAPE = re.compile(rf"{PREFIX}[{ALPHABET}]{{{_RANDOM_LETTERS + 1}}}")


class AnswerLink(NamedTuple):
    """One row of `answer_links`: who may answer which question, until when, and with which answers (None: any).

    Nothing says that it was used: the answer that it brings closes the question, and with it every link to it.
    """

    id: str
    digest: str
    question_key: str
    task_id: str
    namespace: int
    key_id: str
    allow: Json | None
    made_by: str
    made_at: Instant
    expires_at: Instant
    revoked_at: Instant | None


def new_secret(random: Callable[[int], bytes] = os.urandom) -> str:
    """Return the secret of a fresh link."""
    body = random(_RANDOM_LETTERS).translate(LETTERS).decode()
    return PREFIX + body + check_character(body)


def read_secret(text: str) -> str:
    """Return a secret as it was made, whatever surrounds it. Raises LinkNotFound if it cannot be one."""
    secret = text.strip().lower()
    if _SHAPE.fullmatch(secret) is None or check_character(secret[len(PREFIX) : -1]) != secret[-1]:
        raise LinkNotFound
    return secret
