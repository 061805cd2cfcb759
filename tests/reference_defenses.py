"""The defenses written a second time, from their formulas: loops over NumPy rows, no cleverness.

Nothing here imports the package. Rows are float64 and few; speed does not matter.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


def distance(a: Rows, b: Rows) -> float:
    return math.sqrt(sum(float(x - y) ** 2 for x, y in zip(a, b, strict=True)))


def mean(rows: Rows, f: int) -> Rows:
    return np.array([math.fsum(column) / len(rows) for column in rows.T])


def middle(values: list[float], kind: str) -> float:
    ordered = sorted(values)
    low, high = ordered[(len(values) - 1) // 2], ordered[len(values) // 2]
    return {"lower": low, "upper": high, "midpoint": (low + high) / 2}[kind]


def median(rows: Rows, f: int, kind: str = "midpoint") -> Rows:
    return np.array([middle(list(column), kind) for column in rows.T])


def trimmed_mean(rows: Rows, f: int, trim: int | None = None) -> Rows:
    b = f if trim is None else trim
    kept = [sorted(column)[b : len(rows) - b] for column in rows.T]
    return np.array([math.fsum(values) / len(values) for values in kept])


def krum_ranking(rows: Rows, f: int, neighbors: str, power: int) -> list[int]:
    n = len(rows)
    count = max({"n-f-2": n - f - 2, "n-f-1": n - f - 1}[neighbors], 1)
    keys = []
    for i in range(n):
        others = sorted(distance(rows[i], rows[j]) ** power for j in range(n) if j != i)
        keys.append((sum(others[:count]), sum(others), i))
    return [i for _, _, i in sorted(keys)]


def multi_krum(
    rows: Rows,
    f: int,
    neighbors: str = "n-f-2",
    distance_power: int = 2,
    averaged: int | str = "n-f",
) -> Rows:
    n = len(rows)
    named = {"n-f": n - f, "n-f-2": n - f - 2, "n-2f-2": n - 2 * f - 2}
    m = named[averaged] if isinstance(averaged, str) else averaged
    return mean(rows[krum_ranking(rows, f, neighbors, distance_power)[: max(m, 1)]], f)


def krum(rows: Rows, f: int, neighbors: str = "n-f-2", distance_power: int = 2) -> Rows:
    return multi_krum(rows, f, neighbors, distance_power, averaged=1)


def rfa(rows: Rows, f: int, start: str = "inner", iterations: int = 8, eps: float = 1e-7) -> Rows:
    n = len(rows)
    totals = [sum(distance(rows[i], rows[j]) for j in range(n)) for i in range(n)]
    inner = sorted(range(n), key=lambda i: (totals[i], i))[: n - f]
    z = {
        "inner": mean(rows[inner], f),
        "mean": mean(rows, f),
        "median": median(rows, f),
        "zero": np.zeros(rows.shape[1]),
    }[start]
    typical = min(sorted(distance(a, b) for b in rows)[n // 2] for a in rows)
    for _ in range(iterations):
        closeness = np.array([1 / max(eps * typical, distance(row, z)) for row in rows])
        z = (closeness[:, None] * rows).sum(0) / closeness.sum()
    return z


def aksel(rows: Rows, f: int, center: str = "midpoint", keep: str = "half") -> Rows:
    point = median(rows, f, center)
    away = [distance(row, point) for row in rows]
    if keep == "half":
        limit = middle(away, "lower")
        chosen = [i for i in range(len(rows)) if away[i] <= limit]
    else:
        chosen = sorted(range(len(rows)), key=lambda i: (away[i], i))[: len(rows) - f]
    return mean(rows[chosen], f)


def centered_clipping(rows: Rows, center: Rows, tau: float, iterations: int) -> Rows:
    v = center
    for _ in range(iterations):
        steps = []
        for row in rows:
            length = distance(row, v)
            steps.append((row - v) * (1.0 if length <= tau else tau / length))
        v = v + mean(np.array(steps), 0)
    return v


def dnc(rows: Rows, f: int, draws: list[list[int]], filter: float = 1.0) -> Rows:
    """One pass of the test for each list of coordinates in ``draws``."""
    n = len(rows)
    removed = [0] * n
    for coordinates in draws:
        sampled = rows[:, coordinates]
        centred = sampled - sampled.mean(0)
        direction = np.linalg.svd(centred, full_matrices=False)[2][0]
        scores = [float(row @ direction) ** 2 for row in centred]
        worst = sorted(range(n), key=lambda i: (scores[i], i))[n - math.ceil(filter * f) :]
        for i in worst:
            removed[i] += 1
    return mean(rows[[i for i in range(n) if removed[i] == min(removed)]], f)


def bulyan(
    rows: Rows,
    f: int,
    selection: str = "iterated",
    neighbors: str = "n-f-2",
    distance_power: int = 2,
    center: str = "midpoint",
    averaged: str = "values",
) -> Rows:
    n = len(rows)
    theta, beta = n - 2 * f, n - 4 * f
    if selection == "iterated":
        chosen, left = [], list(range(n))
        while len(chosen) < theta:
            chosen.append(left.pop(krum_ranking(rows[left], f, neighbors, distance_power)[0]))
    else:
        chosen = krum_ranking(rows, f, neighbors, distance_power)[:theta]
    out = []
    for column in rows[chosen].T:
        point = middle(list(column), center)
        near = sorted(sorted(column), key=lambda value: abs(value - point))[:beta]
        used = near if averaged == "values" else [-abs(value - point) for value in near]
        out.append(math.fsum(used) / beta)
    return np.array(out)


def mda(rows: Rows, f: int) -> Rows:
    def cost(subset: tuple[int, ...]) -> tuple[float, float, tuple[int, ...]]:
        pairs = [distance(rows[i], rows[j]) for i, j in itertools.combinations(subset, 2)]
        return (max(pairs, default=0), sum(value**2 for value in pairs), subset)

    subsets = itertools.combinations(range(len(rows)), len(rows) - f)
    return mean(rows[list(min(map(cost, subsets))[2])], f)


def nnm(rows: Rows, f: int, include_self: bool = True) -> Rows:
    n = len(rows)
    out = []
    for i in range(n):
        others = sorted((j for j in range(n) if j != i), key=lambda j: distance(rows[i], rows[j]))
        near = [i, *others[: n - f - 1]] if include_self else others[: n - f]
        out.append(mean(rows[near], f))
    return np.array(out)


def bucketing(rows: Rows, order: list[int], s: int) -> Rows:
    buckets = [order[start : start + s] for start in range(0, len(order), s)]
    return np.array([mean(rows[bucket], 0) for bucket in buckets])
