"""The field's rules written a second time, from their formulas: loops over NumPy rows.

Nothing here imports the package. Rows are float64 and few; speed does not matter. What a rule
draws is handed in: that a draw is uniform is tested apart, here its use is.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from tests.reference_defenses import distance, krum_ranking, mean, median, middle, trimmed_mean

Rows = NDArray[np.float64]


def length(row: Rows) -> float:
    return math.sqrt(math.fsum(float(x) ** 2 for x in row))


def shortened(rows: Rows, most: float) -> Rows:
    return np.array([row * min(1.0, most / length(row)) for row in rows])


def fltrust(rows: Rows, f: int, reference: Rows) -> Rows:
    total, trusted = np.zeros(rows.shape[1]), 0.0
    for row in rows:
        cosine = math.fsum(row * reference) / (length(row) * length(reference))
        trust = max(0.0, cosine)
        total = total + trust * length(reference) / length(row) * row
        trusted += trust
    return total / trusted if trusted else np.zeros(rows.shape[1])


def norm_bound(rows: Rows, f: int, bound: float | None = None) -> Rows:
    most = middle([length(row) for row in rows], "midpoint") if bound is None else bound
    return mean(np.array([row / max(1.0, length(row) / most) for row in rows]), f)


def cge(rows: Rows, f: int, average: str = "mean") -> Rows:
    kept = sorted(range(len(rows)), key=lambda i: (length(rows[i]), i))[: len(rows) - f]
    return mean(rows[kept], f) if average == "mean" else rows[kept].sum(0)


def nearest(values: list[float], point: float, count: int) -> list[float]:
    return sorted(values, key=lambda value: (abs(value - point), value))[:count]


def mea_med(rows: Rows, f: int, center: str = "midpoint") -> Rows:
    points = median(rows, f, center)
    kept = [nearest(list(c), p, len(rows) - f) for c, p in zip(rows.T, points, strict=True)]
    return np.array([math.fsum(values) / len(values) for values in kept])


def phocas(rows: Rows, f: int) -> Rows:
    points = trimmed_mean(rows, f)
    kept = [nearest(list(c), p, len(rows) - f) for c, p in zip(rows.T, points, strict=True)]
    return np.array([math.fsum(values) / len(values) for values in kept])


def monna(rows: Rows, f: int, pivot: int = 0) -> Rows:
    away = [distance(row, rows[pivot]) for row in rows]
    return mean(rows[sorted(range(len(rows)), key=lambda i: (away[i], i))[: len(rows) - f]], f)


def caf(rows: Rows, f: int) -> Rows:
    weights = np.ones(len(rows))
    best, least = rows.mean(0), math.inf
    while weights.sum() > len(rows) - 2 * f:
        center = weights @ rows / weights.sum()
        offsets = rows - center
        covariance = (weights[:, None] * offsets).T @ offsets / weights.sum()
        values, vectors = np.linalg.eigh(covariance)
        if values[-1] < least:
            best, least = center, values[-1]
        scores = (offsets @ vectors[:, -1]) ** 2
        if not (scores * weights).sum() > 0:
            break
        after = weights * (1 - scores / scores.max())
        if after.sum() > 0.99 * weights.sum():
            after = weights * np.clip(1 - scores / scores[weights > 0].max(), 0, None)
        weights = after
    return best


def smea(rows: Rows, f: int) -> Rows:
    def top(subset: tuple[int, ...]) -> float:
        chosen = rows[list(subset)]
        offsets = chosen - chosen.mean(0)
        return float(np.linalg.norm(offsets, 2) ** 2)

    subsets = list(itertools.combinations(range(len(rows)), len(rows) - f))
    return rows[list(min(subsets, key=top))].mean(0)


def geometric_median(rows: Rows, f: int) -> Rows:
    """By a general minimiser from several starts, and every row itself."""

    def total(point: Rows) -> float:
        return math.fsum(distance(row, point) for row in rows)

    options = {"xatol": 1e-11, "fatol": 1e-13, "maxiter": 40_000, "maxfev": 80_000}
    starts = [mean(rows, f), median(rows, f)]
    for _ in range(3):
        found = [minimize(total, s, method="Nelder-Mead", options=options).x for s in starts]
        starts = [min(found, key=total)]
    return min([*starts, *rows], key=total)


def bulyan_of_averages(rows: Rows, f: int, averaged: str = "values") -> Rows:
    n = len(rows)
    left = list(range(n))
    chosen = []
    for turn in range(max(n - 2 * f - 2, 1)):
        count = max(min(n - f, n - f - 2 - turn), 1)
        top = [left[i] for i in krum_ranking(rows[left], f, "n-f-2", 2)[:count]]
        center = mean(rows[top], f)
        chosen.append(center)
        left.remove(min(top, key=lambda i: distance(rows[i], center)))
    made = np.array(chosen)
    if averaged == "trimmed":
        return trimmed_mean(made, f)
    points = median(made, f)
    kept = [nearest(list(c), p, len(made) - 2 * f) for c, p in zip(made.T, points, strict=True)]
    return np.array([math.fsum(values) / len(values) for values in kept])


def cosine(a: Rows, b: Rows) -> float:
    both = length(a) * length(b)
    return math.fsum(a * b) / both if both else 0.0


def foolsgold_weights(histories: Rows) -> Rows:
    n = len(histories)
    similar = np.zeros((n, n))
    for i, j in itertools.permutations(range(n), 2):
        similar[i, j] = cosine(histories[i], histories[j])
    most = similar.max(1)
    for i in range(n):
        for j in range(n):
            if i != j and most[i] < most[j]:
                similar[i, j] *= most[i] / most[j]
    alpha = np.clip(1 - similar.max(1), 0, 1)
    if not alpha.max() > 0:
        return np.zeros(n)
    alpha = alpha / alpha.max()
    alpha[alpha == 1] = 0.99
    with np.errstate(divide="ignore"):
        return np.clip(np.log(alpha / (1 - alpha)) + 0.5, 0, 1)


def foolsgold(rows: Rows, f: int, average: str = "clients") -> Rows:
    weights = foolsgold_weights(rows)
    divisor = {"clients": len(rows), "sum": 1.0, "weights": weights.sum() or 1.0}[average]
    return weights @ rows / divisor


def flame(rows: Rows, f: int, vectors: Rows | None = None) -> Rows:
    """Without noise; by single linkage, one merge at a time."""
    n = len(rows)
    shown = rows if vectors is None else vectors
    pairs = sorted(
        (1 - cosine(shown[i], shown[j]), i, j) for i, j in itertools.combinations(range(n), 2)
    )
    groups = [{i} for i in range(n)]
    admitted = set(range(n))
    for _, i, j in pairs:
        one = next(group for group in groups if i in group)
        other = next(group for group in groups if j in group)
        if one is not other:
            groups = [group for group in groups if group is not one and group is not other]
            groups.append(one | other)
        if 2 * len(one | other) > n:
            admitted = one | other
            break
    most = middle([length(row) for row in rows], "midpoint")
    return mean(shortened(rows, most)[sorted(admitted)], f)


def rlr(rows: Rows, f: int, threshold: int | None = None) -> Rows:
    least = f + 1 if threshold is None else threshold
    center = mean(rows, f)
    agreed = [abs(sum(np.sign(column))) >= least for column in rows.T]
    return np.where(agreed, center, -center)


def fed_seca(rows: Rows, f: int, sparsity: float = 0.9) -> Rows:
    n, d = rows.shape
    sign = np.sign(rows)
    ratio = [  # rho_k as an exact fraction: an election may end in a tie
        max(Fraction(0), Fraction(int(sum(np.sign(sum(sign[k] * sign[o])) for o in range(n))), n))
        for k in range(n)
    ]
    sums = [sum(ratio[k] * int(sign[k, j]) for k in range(n)) for j in range(d)]
    elected = [(total > 0) - (total < 0) for total in sums]
    clipped = shortened(rows, middle([length(row) for row in rows], "midpoint"))
    floors = [float(np.quantile(abs(row), sparsity)) for row in rows]
    answer = np.zeros(d)
    for j in range(d):
        most = middle([abs(value) for value in clipped[:, j]], "midpoint")
        values = [
            math.copysign(min(most, abs(clipped[k, j])), clipped[k, j])
            for k in range(n)
            if abs(rows[k, j]) > floors[k]
        ]
        aligned = [value for value in values if elected[j] * value > 0]
        answer[j] = sum(aligned) / len(aligned) if aligned else 0.0
    return answer


def lasa(
    rows: Rows,
    f: int,
    layers: tuple[int, ...] | None = None,
    sparsity: float = 0.3,
    norm_bound: float = 2.0,
    sign_bound: float = 1.0,
) -> Rows:
    n, d = rows.shape
    clipped = shortened(rows, middle([length(row) for row in rows], "lower"))
    thin = clipped.copy()
    for row in thin:
        order = sorted(range(d), key=lambda j: abs(row[j]))
        row[order[: d - int(d * (1 - sparsity))]] = 0.0

    def usual(values: list[float], bound: float) -> set[int]:
        spread = float(np.std(values))
        center = middle(values, "midpoint")
        return {i for i in range(n) if spread == 0 or abs(values[i] - center) / spread < bound}

    answer, start = [], 0
    for width in layers or (d,):
        part = thin[:, start : start + width]
        shares = []
        for row in part:
            some = sum(abs(np.sign(row)))
            share = sum(np.sign(row)) / some if some else 0.0
            shares.append(0.5 * (1 + share * (1 - sparsity)))
        passed = usual([length(row) for row in part], norm_bound) & usual(shares, sign_bound)
        kept = sorted(passed or range(n))
        answer.append(mean(clipped[kept][:, start : start + width], f))
        start += width
    return np.concatenate(answer)


def arc(rows: Rows, f: int) -> Rows:
    lengths = sorted((length(row) for row in rows), reverse=True)
    return shortened(rows, lengths[(2 * f * (len(rows) - f)) // len(rows)])


def clipping(rows: Rows, f: int, c: float = 2.0) -> Rows:
    return shortened(rows, c)


def hessian_product(steps: Rows, changes: Rows, vector: Rows) -> Rows:
    """BFGS updates of sigma I, one pair after another, as dense matrices."""
    d = len(vector)
    s, y = steps[-1], changes[-1]
    matrix = (y @ s) / (s @ s) * np.eye(d)
    for s, y in zip(steps, changes, strict=True):
        moved = matrix @ s
        matrix = matrix - np.outer(moved, moved) / (s @ moved) + np.outer(y, y) / (y @ s)
    return matrix @ vector


def two_means(values: Rows) -> float:
    """The least sum of squares of two clusters, over all splits of the sorted values."""
    ordered = np.sort(values)
    return min(
        float(((part - part.mean()) ** 2).sum() + ((rest - rest.mean()) ** 2).sum())
        for part, rest in ((ordered[:k], ordered[k:]) for k in range(1, len(values)))
    )


# -- attacks -----------------------------------------------------------------------------------


def rop(mean_: Rows, last: Rows | None, z: float, pi: float, lamb: float, angle: float) -> Rows:
    history = np.zeros_like(mean_) if last is None else last
    reference = mean_ if last is None else last
    place = pi * history + (1 - pi) * mean_
    toward = lamb * reference + (1 - lamb) * mean_
    ones = np.ones_like(mean_)
    across = ones - toward * (ones @ toward) / (toward @ toward)
    across, toward = across / np.linalg.norm(across), toward / np.linalg.norm(toward)
    turned = math.sin(math.radians(angle)) * across + math.cos(math.radians(angle)) * toward
    return place + z * turned / np.linalg.norm(turned)


def poisoned_fl(sign: Rows, step: Rows, last_sent: Rows, factor: float) -> Rows:
    scale = np.abs(step - last_sent * np.linalg.norm(step) / np.linalg.norm(last_sent))
    return factor * np.linalg.norm(step) * scale * sign / np.linalg.norm(scale)
