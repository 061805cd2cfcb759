"""Errors of a configuration: one line that names the key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from fl_platform.config.aliases import meaning

LONGEST = 800  # maximum characters of a message


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one printable line."""

    def __init__(self, message: str) -> None:
        # A value may contain line breaks or terminal codes: show them escaped.
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))
        super().__init__(line if len(line) <= LONGEST else line[: LONGEST - 3] + "...")


def shown(value: object, limit: int = 60) -> str:
    """``value`` as quoted in an error message, shortened if it is long."""
    yaml_words: dict[object, str] = {None: "null", True: "true", False: "false"}
    text = yaml_words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def nearest(name: object, known: Iterable[str]) -> str:
    """``"; did you mean 'nu'?"`` for an alias or a misspelling of a known name, else ``.``"""
    name, known = str(name), list(known)  # the key of a yaml file may be a number
    meant = meaning(name, known)
    if meant is not None:
        return f"; did you mean '{meant}'?"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else "."


def listed(names: Iterable[str]) -> str:
    """``" Expected one of: nu, z."``, or that the rule has none."""
    known = ", ".join(names)
    return f" Expected one of: {known}." if known else " It has none."
