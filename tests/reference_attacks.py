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


def way(g: np.ndarray, kind: str) -> np.ndarray:
    mean = g.mean(0)
    return {"std": g.std(0), "sign": np.sign(mean), "unit": mean / np.linalg.norm(mean)}[kind]


def min_max(g: np.ndarray, kind: str) -> np.ndarray:
    allowed = diameter(g)

    def row(gamma: float) -> np.ndarray:
        return g.mean(0) - gamma * way(g, kind)

    def fits(gamma: float) -> bool:
        return all(np.linalg.norm(row(gamma) - one) <= allowed for one in g)

    return row(bisect(fits, 1e4))


def min_sum(g: np.ndarray, kind: str, smallest: bool = False) -> np.ndarray:
    sums = [sum(float(np.sum((a - b) ** 2)) for b in g) for a in g]
    allowed = min(sums) if smallest else max(sums)

    def row(gamma: float) -> np.ndarray:
        return g.mean(0) - gamma * way(g, kind)

    def fits(gamma: float) -> bool:
        return sum(float(np.sum((row(gamma) - one) ** 2)) for one in g) <= allowed

    return row(bisect(fits, 1e4))


def krum_winner(received: np.ndarray, f: int) -> int:
    n = len(received)
    scores = []
    for i in range(n):
        others = [float(np.sum((received[i] - received[j]) ** 2)) for j in range(n) if j != i]
        scores.append(sum(sorted(others)[: n - f - 2]))
    return int(np.argmin(scores))


def fang_krum(g: np.ndarray, f: int, start: np.ndarray, tolerance: float = 1e-5) -> np.ndarray:
    h, d = g.shape
    n = h + f
    sums = [sum(sorted(float(np.linalg.norm(a - b)) for b in g)[1 : n - f - 1]) for a in g]
    step = min(sums) / (n - 2 * f - 1) / math.sqrt(d)
    step += max(float(np.linalg.norm(a - start)) for a in g) / math.sqrt(d)
    while step >= tolerance:
        row = start - step * np.sign(g.mean(0))
        # Byzantine rows last: a tie goes to an honest row.
        if krum_winner(np.vstack([g, np.tile(row, (f, 1))]), f) >= h:
            break
        step /= 2
    return start - step * np.sign(g.mean(0))


def mimic_direction(rounds: list[np.ndarray], z: np.ndarray) -> np.ndarray:
    def turned(g: np.ndarray, mu: np.ndarray, z: np.ndarray) -> np.ndarray:
        c = (g - mu).T @ (g - mu)
        return c @ z / np.linalg.norm(c @ z)

    mu = rounds[0].mean(0)
    z = turned(rounds[0], mu, z)
    for t, g in enumerate(rounds[1:], start=1):
        mu = t / (1 + t) * mu + g.mean(0) / (1 + t)
        z = t / (1 + t) * z + turned(g, mu, z) / (1 + t)
    return z
