"""Every draw has a name: a random stream is a pure function of (seed, name, round, client).

Nothing is ever drawn from a global generator, so a resumed run needs no saved random state and
neither the order of clients nor the runs beside it change a single bit.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, name: str, *keys: int) -> int:
    """The 63-bit seed of the stream ``name`` at ``keys`` (round, client, ...)."""
    text = "\x1f".join([str(int(seed)), name, *(str(int(key)) for key in keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str, *keys: int) -> torch.Generator:
    """A CPU generator for the stream ``name`` at ``keys``; equal arguments give equal draws."""
    return torch.Generator().manual_seed(stream_seed(seed, name, *keys))
