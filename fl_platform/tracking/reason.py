"""Text from elsewhere, in one line that may be shown and stored."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"(?<=//)[^/\s@'\"]+@")


def reason(error: BaseException, length: int = 300) -> str:
    """The first line of ``error``'s message, without the user and password of any address."""
    lines = str(error).strip().splitlines()
    text = _CREDENTIALS.sub("", lines[0]) if lines else type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"


def printable(text: str) -> str:
    """``text`` without control and direction characters, at most 250 long."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:250]
