"""The last door of texts on the way to MLflow: what it and its database can store."""

from __future__ import annotations

import re


def valid_key(key: str) -> str:
    """``key`` with the characters that MLflow refuses replaced."""
    return re.sub(r"[^\w\-. /:]", "_", key)[:250]


def clean(text: object, length: int = 5000) -> str:
    """``text`` as the store takes it: UTF-8 without NUL, at most ``length`` long.

    >>> clean("caf\\udce9.npz")
    'caf\ufffd.npz'
    """
    replaced = re.sub("[\x00\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", str(text))
    return replaced[:length]
