"""Named random streams: pure functions of (seed, name, round, client).

No code draws from a global generator. A resumed run therefore needs no saved random state, and
neither the order of clients nor parallel runs change any bit.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, name: str, *keys: int) -> int:
    """The 63-bit seed of the stream ``name`` at ``keys`` (round, client, ...).

    Example:
        >>> from fl_platform.core.rng import stream_seed
        >>> hex(stream_seed(0, "arrival", 3))
        '0x13b98a6a2a867064'
    """
    text = "\x1f".join([str(int(seed)), name, *(str(int(key)) for key in keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str, *keys: int) -> torch.Generator:
    """A CPU generator for the stream ``name`` at ``keys``; equal arguments give equal draws.

    Example:
        >>> import torch
        >>> from fl_platform.core import generator
        >>> first = torch.randperm(5, generator=generator(0, "arrival", 3))
        >>> again = torch.randperm(5, generator=generator(0, "arrival", 3))
        >>> bool((first == again).all())
        True
    """
    return torch.Generator().manual_seed(stream_seed(seed, name, *keys))
