"""Slow second opinions on the attacks, in NumPy float64, written from the papers' formulas.

Nothing here imports the package: a mistake would have to be made twice to pass.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np


def lie(g: np.ndarray, z: float, plus: bool = False, ddof: int = 0) -> np.ndarray:
    shift = z * g.std(0, ddof=ddof)
    return g.mean(0) + shift if plus else g.mean(0) - shift


def lie_z(n: int, f: int) -> float:
    supporters = math.floor(n / 2 + 1) - f
    return NormalDist().inv_cdf((n - f - supporters) / (n - f))


def diameter(g: np.ndarray) -> float:
    return max(float(np.linalg.norm(a - b)) for a in g for b in g)


def bisect(fits, high: float, tolerance: float = 1e-12) -> float:
    low = 0.0
    if fits(high):
        return high
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def skewed_set(g: np.ndarray, size: int, towards: np.ndarray | None = None) -> list[int]:
    u = np.median(g, 0) - g.mean(0) if towards is None else towards
    p = [float((row - g.mean(0)) @ u) for row in g]
    return sorted(sorted(range(len(g)), key=lambda i: (-p[i], i))[:size])


def hide(g: np.ndarray, chosen: list[int], nu: float = 1.0) -> tuple[np.ndarray, float]:
    """Eq. 12 with alpha from a bisection of eq. 9 over the rows themselves."""
    s = g[chosen]
    centre = s.mean(0)
    v = np.sign(centre - g.mean(0)) * s.std(0)
    if not v.any():
        return centre, 0.0
    allowed = diameter(s)

    def fits(alpha: float) -> bool:
        return all(np.linalg.norm(centre + alpha * v - row) <= allowed for row in s)

    alpha = bisect(fits, 1e4)
    return centre + nu * alpha * v, alpha


def strike(g: np.ndarray, f: int, nu: float = 1.0) -> np.ndarray:
    return hide(g, skewed_set(g, len(g) - f), nu)[0]
