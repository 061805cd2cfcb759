"""External text as one line that is safe to show and store."""

from __future__ import annotations

import re

# The part before the host (a password may contain slashes and @), and the part after a "?";
# three slashes start a file path.
_SECRETS = re.compile(r"(?<=[^/]//)(?:[^/:\s'\"]*:[^\s'\"]*@|[^/\s'\"]*@)|\?[^\s'\"=]*=[^\s'\"]*")


def reason(error: BaseException, length: int = 300) -> str:
    """The first line of ``error``'s message, without secrets in addresses."""
    lines = str(error).strip().splitlines()
    text = without_secrets(lines[0]) if lines else type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"


def without_secrets(text: str) -> str:
    """``text`` without user, password and query in addresses."""
    return _SECRETS.sub("", text)


def printable(text: str) -> str:
    """``text`` without control and direction characters, at most 250 characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:250]
