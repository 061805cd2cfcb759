"""Text from elsewhere, in one line that may be shown and stored."""

from __future__ import annotations

import re

# What stands before the host (a password may hold slashes and further @), and what follows a "?";
# three slashes begin a file.
_SECRETS = re.compile(r"(?<=[^/]//)(?:[^/:\s'\"]*:[^\s'\"]*@|[^/\s'\"]*@)|\?[^\s'\"=]*=[^\s'\"]*")


def reason(error: BaseException, length: int = 300) -> str:
    """The first line of ``error``'s message, without what may be secret in any address."""
    lines = str(error).strip().splitlines()
    text = without_secrets(lines[0]) if lines else type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"


def without_secrets(text: str) -> str:
    """``text`` without the user, password and query of any address in it."""
    return _SECRETS.sub("", text)


def printable(text: str) -> str:
    """``text`` without control and direction characters, at most 250 long."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:250]
