"""Text from elsewhere, in one line that may be shown and stored."""

from __future__ import annotations

import re
import unicodedata

# What stands before the host (a password may hold slashes and further @), and what follows a "?";
# three slashes begin a file.
_SECRETS = re.compile(r"(?<=[^/]//)(?:[^/:\s'\"]*:[^\s'\"]*@|[^/\s'\"]*@)|\?[^\s'\"=]*=[^\s'\"]*")

_REPLACED = "\N{REPLACEMENT CHARACTER}"


def reason(error: BaseException, length: int = 300) -> str:
    """The first line of ``error``'s message, without what may be secret in any address."""
    lines = str(error).strip().splitlines()
    text = without_secrets(lines[0]) if lines else type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"


def without_secrets(text: str) -> str:
    """``text`` without the user, password and query of any address in it."""
    return _SECRETS.sub("", text)


def visible(text: str) -> str:
    """``text`` with every character that controls a terminal, or is not seen, replaced.

    Line ends, tabs and spaces of any width stay. A direction character can make a name read as
    another one.

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
