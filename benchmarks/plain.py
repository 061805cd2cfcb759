"""Plain implementations of rules and attacks: the baseline of our timings.

Each follows its formula on the whole matrix, with torch's sort, median, cdist and loops.
"""

from __future__ import annotations

import torch
from torch import Tensor


def multi_krum(rows: Tensor, f: int) -> Tensor:
    distances = torch.cdist(rows, rows).square()
    nearest = distances.topk(len(rows) - f - 1, largest=False).values  # itself and n - f - 2
    chosen = nearest.sum(1).topk(len(rows) - f, largest=False).indices
    return rows[chosen].mean(0)


def rfa(rows: Tensor, steps: int = 8) -> Tensor:
    point = rows.mean(0)
    for _ in range(steps):
        closeness = torch.stack([1 / (row - point).norm().clamp_min(1e-7) for row in rows])
        shares = closeness / closeness.sum()
        point = torch.zeros_like(point)
        for share, row in zip(shares, rows, strict=True):
            point += share * row
    return point


def median(rows: Tensor) -> Tensor:
    return rows.median(0).values


def trimmed_mean(rows: Tensor, f: int) -> Tensor:
    return rows.sort(0).values[f : len(rows) - f].mean(0)


def nnm(rows: Tensor, f: int) -> Tensor:
    distances = torch.cdist(rows, rows)
    nearest = distances.topk(len(rows) - f, largest=False).indices
    return torch.stack([rows[near].mean(0) for near in nearest])


def bucketing(rows: Tensor, order: Tensor, s: int = 2) -> Tensor:
    return torch.stack([rows[bucket].mean(0) for bucket in order.split(s)])


def centered_clipping(rows: Tensor, tau: float = 10.0) -> Tensor:
    lengths = rows.norm(dim=1, keepdim=True).clamp_min(tau)
    return (rows * (tau / lengths)).mean(0)


def bisect(start: Tensor, way: Tensor, within: object, halvings: int = 20) -> Tensor:
    low, high = 0.0, 10.0
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if within(start + middle * way) else (low, middle)
    return start + low * way


def min_max(honest: Tensor) -> Tensor:
    bound = torch.cdist(honest, honest).max()
    return bisect(
        honest.mean(0),
        -honest.std(0, correction=0),
        lambda row: (honest - row).norm(dim=1).max() <= bound,
    )


def min_sum(honest: Tensor) -> Tensor:
    bound = torch.cdist(honest, honest).square().sum(1).max()
    return bisect(
        honest.mean(0),
        -honest.std(0, correction=0),
        lambda row: (honest - row).norm(dim=1).square().sum() <= bound,
    )


def strike(honest: Tensor, f: int) -> Tensor:
    mean = honest.mean(0)
    towards = honest.median(0).values - mean
    skewed = honest[(honest @ towards).topk(len(honest) - f).indices]
    middle = skewed.mean(0)
    bound = torch.cdist(skewed, skewed).max()
    return bisect(
        middle,
        (middle - mean).sign() * skewed.std(0, correction=0),
        lambda row: (skewed - row).norm(dim=1).max() <= bound,
    )
