"""The login of a served page: a random token per start, so that only this user can open it.

The address that is printed holds the token; opening it stores a cookie in the browser. Programs
send the header ``Authorization: Bearer TOKEN``. Loopback alone does not tell users of one machine
apart. The token passes to the server in the environment, which other users cannot read.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple

VARIABLE = "FL_PLATFORM_UI_TOKEN"
_COOKIE, _OPEN = "fl_platform_login", "/open/"
_PLAIN = ("Content-Type", "text/plain; charset=utf-8")
_NEVER_STORED = [("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")]
_TOLD = "Expected a login: open the whole address that fl-platform ui printed.\n"


class Answer(NamedTuple):
    """What a request gets in place of the page."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Login:
    """Admits requests that know ``token``.

    Args:
        start: the path of the page, where a login leads.

    >>> login = Login("secret")
    >>> login.answer("/", {}).status, login.answer("/open/secret/", {}).status
    (401, 303)
    >>> login.answer("/", {"authorization": "Bearer secret"}) is None
    True
    """

    def __init__(self, token: str, start: str = "/") -> None:
        if not token:
            raise ValueError(f"Expected a token in {VARIABLE}, got none.")
        self._token, self._start = token, start

    def answer(self, path: str, headers: Mapping[str, str]) -> Answer | None:
        """What to answer to a request; ``None``: it is admitted to the page.

        Args:
            headers: by names in lower case.
        """
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if self._known(_cookies(headers.get("cookie", ""))):
            admitted = True
        else:
            admitted = scheme.lower() == "bearer" and self._known([given.strip()])
        if path.startswith(_OPEN) and self._known([path.removeprefix(_OPEN).rstrip("/")]):
            cookie = f"{_COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Lax"
            return Answer(
                303, [("Location", self._start), ("Set-Cookie", cookie), *_NEVER_STORED], b""
            )
        return None if admitted else Answer(401, [_PLAIN, *_NEVER_STORED], _TOLD.encode())

    def _known(self, given: Iterable[str]) -> bool:
        own = self._token.encode()
        return any(hmac.compare_digest(each.encode(errors="replace"), own) for each in given)


def new_token() -> str:
    """192 random bits, in letters and digits."""
    return secrets.token_hex(24)


def open_path(token: str) -> str:
    """The path that logs a browser in."""
    return f"{_OPEN}{token}/"


def _cookies(header: str) -> list[str]:
    """The values of our cookie: a browser may hold those of servers at other ports, too."""
    try:
        return [found.value for found in SimpleCookie(header).values() if found.key == _COOKIE]
    except CookieError:
        return []
