"""Skew of the honest updates of a round, and what a hidden row can gain from it.

The paper (Y. Liu et al., "Exploit Gradient Skewness to Circumvent Byzantine Defenses for
Federated Learning", 2025) shows skew in plots; these are statistics, most of them ours. Along the
search direction even symmetric updates look skewed, because the direction is computed from the
same updates: compare every statistic with its sign-flip null.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fl_platform.core.deferred import Number, assumed, chosen, finite, number, over, sent, sqrt
from fl_platform.core.geometry import leading
from fl_platform.core.rng import generator
from fl_platform.core.updates import Updates
from fl_platform.metrics.skewed_set import (
    MedianStart,
    Skewed,
    search_direction,
    skewed,
    skewed_size,
)
from fl_platform.metrics.spread import offsets_sq


def skew(
    honest: Updates, num_byzantine: int, *, median: MedianStart = "midpoint"
) -> dict[str, Number]:
    r"""Skew statistics of one round: two passes besides the median, the mean and the Gram.

    .. math:: \rho &= \frac{\|g_{med} - \bar g\|}{\sqrt V}, \quad
        sk_2 = \frac{3 (\bar p - p_{med})}{s_p}, \quad
        \gamma_1 = \frac{m_3}{m_2^{3/2}}, \quad p_i = \langle g_i - \bar g, u\rangle, \quad
        u = g_{med} - \bar g \\
        t_3 &= \frac{\sum_{i \ne j} \langle g_i - \bar g, g_j - \bar g\rangle^3}
        {h (h - 1) V^3}, \quad \text{shift} = \frac{\|\bar g_S - \bar g\|}{\sqrt V}

    After STRIKE on the same ``Updates`` object no pass is needed: its results are cached.

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f; the skewed set has h - f rows, at least 1.
        median: Kind of median, as in STRIKE.

    Returns:
        Shape: ``rho``, V the mean squared distance from the mean; ``sk2`` of Pearson and
        ``gamma1`` of Fisher of the projections p on the search direction; ``mode_share`` the
        share of rows with p > 0;
        ``pc1_gamma1`` and ``pc1_share`` Fisher's skewness and the explained share of the first
        principal component, oriented towards the median; ``t3`` the rotation-invariant third
        moment. Hiding space: ``variance_ratio`` V_S / V, ``diameter_ratio`` D_S / D, ``shift``
        of the mean of S, ``alpha`` STRIKE's largest step, ``union_shift`` and
        ``union_variance_ratio`` the same two for S with f hidden rows. All are 0 for equal rows
        and NaN if a row is not finite.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.metrics import skew
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> round(skew(honest, 1)["rho"], 4)
        0.3922
    """
    spread = offsets_sq(honest)
    variance = number(spread.mean())
    if not assumed((variance > 0) & finite(variance)):
        return dict.fromkeys(NAMES, 0.0 if variance == 0 else math.nan)
    found = skewed(honest, skewed_size(len(honest), num_byzantine), median)
    p = found.projection - found.projection.mean()
    return {
        "rho": honest.length(search_direction(honest, median)) / sqrt(variance),
        "sk2": pearson(p),
        "gamma1": fisher(p),
        "mode_share": number((p > 0).double().mean()),
        **principal(honest, p),
        "t3": third_moment(honest),
        **hiding_space_metrics(honest, num_byzantine, found, variance),
    }


NAMES = (
    "rho",
    "sk2",
    "gamma1",
    "mode_share",
    "pc1_gamma1",
    "pc1_share",
    "t3",
    "variance_ratio",
    "diameter_ratio",
    "shift",
    "alpha",
    "union_shift",
    "union_variance_ratio",
)


def skew_null(
    honest: Updates,
    num_byzantine: int,
    *,
    seed: int,
    index: int,
    draws: int = 20,
    median: MedianStart = "midpoint",
) -> dict[str, Number]:
    """Null distribution of the skew statistics: rows made symmetric about their mean.

    .. math:: g_i' = \\bar g + \\epsilon_i (g_i - \\bar g),\\quad \\epsilon_i = \\pm 1

    Direction, skewed set and all statistics are recomputed for each draw, so the null includes
    the bias of a direction that is computed from the same rows.

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f, as for ``skew``.
        seed: Seed of the run; draw k of round ``index`` comes from its stream ``skew_null``.
        index: Index of the round.
        draws: Number of sign patterns, at least 2; each costs about one ``skew``.
        median: Kind of median, as for ``skew``.

    Returns:
        For each name of ``skew``: ``<name>_null``, the null mean, and ``<name>_z``, the distance
        of the observed value from it in standard deviations of the null (0 if these are 0).

    Raises:
        ValueError: ``draws`` is below 2.
    """
    if draws < 2:
        raise ValueError(f"Expected draws >= 2, got {draws}; one draw has no standard deviation.")
    seen = skew(honest, num_byzantine, median=median)
    drawn = []
    for k in range(draws):
        mixing = sign_flip(len(honest), generator(seed, "skew_null", index, k))
        flipped = honest.mixed(sent(mixing, honest.device))
        drawn.append(skew(flipped, num_byzantine, median=median))
    result: dict[str, Number] = {}
    for name, value in seen.items():
        values = _vector([one[name] for one in drawn])
        mean, sd = number(values.mean()), number(values.std())
        result[f"{name}_null"] = mean
        result[f"{name}_z"] = over(value - mean, sd)
    return result


def _vector(numbers: list[Number]) -> Tensor:
    kept = [one for one in numbers if isinstance(one, Tensor)]
    if not kept:
        return torch.tensor(numbers, dtype=torch.float64)
    return torch.stack([torch.zeros_like(kept[0]) + one for one in numbers])


def sign_flip(rows: int, stream: torch.Generator) -> Tensor:
    """``(h, h)`` matrix that reflects each row at the mean with probability 1/2; rows sum to 1."""
    signs = torch.randint(0, 2, (rows,), generator=stream).double() * 2 - 1
    mean = torch.full((rows, rows), 1 / rows, dtype=torch.float64)
    return signs[:, None] * (torch.eye(rows, dtype=torch.float64) - mean) + mean


def gaussian_rho(rows: int) -> float:
    r"""Expected rho of h independent Gaussian rows in high dimension: sqrt((pi / 2 - 1) / h).

    .. math:: \mathrm{E} \rho = \sqrt{\frac{\pi / 2 - 1}{h}}

    Example:
        >>> from fl_platform.metrics import gaussian_rho
        >>> round(gaussian_rho(40), 4)
        0.1195
    """
    return math.sqrt((math.pi / 2 - 1) / rows)


def pearson(p: Tensor) -> Number:
    """3 (mean - median) / standard deviation, from -3 to 3; 0 for a constant."""
    sd = number(p.std(correction=0))
    middle = (p.median() - (-p).median()) / 2  # midpoint of lower and upper median
    return over(3 * number(p.mean() - middle), sd)


def fisher(p: Tensor) -> Number:
    """Third central moment over the standard deviation cubed; 0 for a constant."""
    off = p - p.mean()
    sd = number(off.square().mean().sqrt())
    return chosen(sd > 0, lambda: number((off / sd).pow(3).mean()), 0.0)


def principal(honest: Updates, towards: Tensor) -> dict[str, Number]:
    """Fisher's skewness along the first principal component, and its explained share.

    The component is oriented along ``towards``, the ``(h,)`` projections on the search direction.
    Computed from the Gram, without a pass.
    """
    value, scores, total = leading(centred_gram(honest))
    scores = torch.where(scores @ towards.to(scores) < 0, -scores, scores)
    return {"pc1_gamma1": fisher(scores), "pc1_share": number(value) / number(total)}


def third_moment(honest: Updates) -> Number:
    """Sum over pairs of <e_i, e_j>^3 / (h (h - 1) V^3); expectation 0 for Gaussian rows.

    An unbiased estimate of the squared length of the third cumulant in units of V^3, without a
    direction or a median. 0 for a single row.
    """
    gram = centred_gram(honest)
    rows = len(gram)
    variance = gram.diagonal().mean()
    scaled = (gram / variance).fill_diagonal_(0)
    return number(scaled.pow(3).sum()) / (rows * (rows - 1)) if rows > 1 else 0.0


def centred_gram(updates: Updates) -> Tensor:
    """``(m, m)`` float64 inner products of the rows minus their mean."""
    gram = updates.gram()
    return gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()


def hiding_space_metrics(
    honest: Updates, num_byzantine: int, found: Skewed, variance: Number
) -> dict[str, Number]:
    """Spread and shift of the skewed set, alone and with f hidden rows."""
    space, size = found.space, len(found.index)
    alpha = space.largest_step()
    off = space.centre - honest.mean()
    own = number(space.offsets_sq.mean())
    part = num_byzantine / (size + num_byzantine)
    between = part * (1 - part) * alpha**2 * space.direction_sq
    diameter_sq = number(honest.squared_distances().max())
    return {
        "variance_ratio": own / variance,
        "diameter_ratio": sqrt(over(space.diameter_sq, diameter_sq)),
        "shift": honest.length(off) / sqrt(variance),
        "alpha": alpha,
        "union_shift": honest.length(off + part * alpha * space.direction) / sqrt(variance),
        "union_variance_ratio": ((1 - part) * own + between) / variance,
    }
