"""External text as one line that is safe to show and store."""

from __future__ import annotations

import re
import unicodedata

# The part before the host (a password may contain slashes and @), and the part after a "?";
# three slashes start a file path.
_SECRETS = re.compile(r"(?<=[^/]//)(?:[^/:\s'\"]*:[^\s'\"]*@|[^/\s'\"]*@)|\?[^\s'\"=]*=[^\s'\"]*")

_REPLACED = "\N{REPLACEMENT CHARACTER}"


def reason(error: BaseException, length: int = 300) -> str:
    """The first line of ``error``'s message, without secrets in addresses."""
    lines = str(error).strip().splitlines()
    text = without_secrets(lines[0]) if lines else type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"


def without_secrets(text: str) -> str:
    """``text`` without user, password and query in addresses."""
    return _SECRETS.sub("", text)


def visible(text: str) -> str:
    """``text`` with every character that controls a terminal, or is not seen, replaced.

    Line ends, tabs and spaces of any width stay. A direction character can make a name read as
    another one.

    >>> from fl_platform.core.text import visible
    >>> visible("a\x1b[31mb\u202e")
    'a�[31mb�'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or _harmless(c) else _REPLACED for c in text)


def _harmless(character: str) -> bool:
    return character in "\n\t" or unicodedata.category(character) == "Zs"


def printable(text: str) -> str:
    """``text`` without control and direction characters, at most 250 long."""
    return "".join(c if c.isprintable() else _REPLACED for c in text)[:250]
