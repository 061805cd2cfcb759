"""SignGuard: rows of usual length in the largest cluster of sign statistics."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates, generator
from fl_platform.core.constraints import Above, AtLeast, Between
from fl_platform.core.rule import rule
from fl_platform.defenses.dnc import columns_at, draw_distinct
from fl_platform.defenses.norm_bound import middle_value


@rule(
    label="SignGuard",
    tolerates=lambda n: (n - 1) // 2,
    shardable="samples coordinates out of all",
)
class SignGuard:
    r"""The mean of the clipped rows that pass a test of length and a test of signs.

    .. math:: S_1 = \{i : L \le \|g_i\| / M \le R\}, \quad M = \operatorname{med}_j \|g_j\|,
        \quad S_2 = \text{largest mean-shift cluster of } (p_i, z_i, q_i), \\
        \hat g = \frac{1}{|S_1 \cap S_2|} \sum_{i \in S_1 \cap S_2} g_i \min(1, M / \|g_i\|)

    p, z and q are the shares of positive, zero and negative signs among sampled coordinates,
    each divided by its largest over the rows. The bandwidth of mean shift is the mean distance
    of a row's features to its n/2-th nearest.

    Args:
        seed: of the stream that draws coordinates.
        lower: L; 0.1 in the paper.
        upper: R; 3.0 in the paper.
        fraction: the share of coordinates that is drawn, at least one; 0.1 in the paper. The
            authors' code and FLPoison take one block of adjacent coordinates.

    Where no row passes both tests the aggregate is zero, which keeps the model.

    Guarantees, in the paper, convergence for bounded honest variance; no kappa: the tests use
    lengths and signs only. Cost: two reads of the matrix and the sampled columns.

    References:
        Xu, Huang, Song, Lan, Byzantine-robust Federated Learning through Collaborative Malicious
        Gradient Filtering, ICDCS 2022, Algorithm 2 (without the similarity feature).
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        lower: Annotated[float, AtLeast(0)] = 0.1,
        upper: Annotated[float, Above(0)] = 3.0,
        fraction: Annotated[float, Between(0, 1)] = 0.1,
    ) -> None:
        if not 0 <= lower < upper or not 0 <= fraction <= 1:
            raise ValueError(
                "Expected 0 <= lower < upper and a fraction from 0 to 1,"
                f" got {lower}, {upper} and {fraction}."
            )
        self.seed, self.lower, self.upper, self.fraction = seed, lower, upper, fraction
        self.calls = 0

    def __call__(self, updates: Updates, num_byzantine: int) -> Aggregate:
        """The clipped mean of the rows that pass; f < n / 2 is checked and not used."""
        lengths = updates.squared_norms().sqrt()
        usual = middle_value(lengths)
        passed = (lengths >= self.lower * usual) & (lengths <= self.upper * usual)
        stream = generator(self.seed, "sign_guard", self.calls)
        self.calls += 1
        d = updates.dimension
        index = draw_distinct(d, max(int(self.fraction * d), 1), stream)
        passed &= largest_cluster(sign_features(columns_at(updates, index))).to(passed.device)
        if not bool(passed.any()):
            nothing = torch.zeros(d, dtype=updates.dtype, device=updates.device)
            return Aggregate(nothing, torch.zeros_like(lengths), anchor_weight=1.0)
        scales = torch.where(lengths > usual, usual / lengths, 1.0)
        weights = torch.where(passed, scales, 0.0) / passed.sum()
        return Aggregate(updates.combine(weights), weights, float(1 - weights.sum()))

    def state_dict(self) -> dict[str, Any]:
        """The number of calls, which determines the next draw."""
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the number of calls."""
        self.calls = int(state["calls"])


def sign_features(sampled: Tensor) -> Tensor:
    """``(n, 3)`` shares of positive, zero and negative signs, each over its largest."""
    signs = [sampled > 0, sampled == 0, sampled < 0]
    shares = torch.stack([one.double().mean(1) for one in signs], 1)
    return shares / shares.max(0).values.clamp_min(1e-300)


def largest_cluster(points: Tensor) -> Tensor:
    """``(n,)`` mask of the largest cluster of flat-kernel mean shift.

    Every point moves to a mode; modes within a bandwidth of a fuller one are dropped (ties: in
    descending order of coordinates); a point belongs to the nearest mode within a bandwidth.
    """
    points = points.double().cpu()
    n = len(points)
    width = float(torch.cdist(points, points).sort(1).values[:, max(n // 2, 1) - 1].mean())
    if width == 0:  # half of all points equal each of them: take those equal to most others
        return _most_equal(points)
    modes = points.clone()
    for _ in range(300):
        near = (torch.cdist(modes, points) <= width).double()
        moved = near @ points / near.sum(1, keepdim=True)
        still = bool((moved - modes).norm(dim=1).max() < 1e-3 * width)
        modes = moved
        if still:
            break
    full = (torch.cdist(modes, points) <= width).sum(1)
    keys = zip(full.tolist(), modes.tolist(), range(n), strict=True)
    kept: list[int] = []
    for _, _, place in sorted(keys, reverse=True):
        if all(float((modes[place] - modes[other]).norm()) > width for other in kept):
            kept.append(place)
    apart = torch.cdist(points, modes[kept])
    nearest, labels = apart.min(1)
    labels[nearest > width] = len(kept)
    counts = torch.bincount(labels, minlength=len(kept) + 1)[:-1]
    return labels == counts.argmax()


def _most_equal(points: Tensor) -> Tensor:
    same = torch.cdist(points, points) == 0
    return same[same.sum(1).argmax()]


sign_guard = SignGuard
