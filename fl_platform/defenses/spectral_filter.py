"""Spectral filtering: one row at a time goes along the main direction of what is left."""

from __future__ import annotations

import math
from typing import Literal

import torch

from fl_platform.core import Aggregate, Updates
from fl_platform.core.geometry import leading
from fl_platform.core.rule import rule


def _kappa(n: int, f: int, **parameters: object) -> float:
    """The constant of the docstring; for a centre at the mean none is stated."""
    if parameters.get("center", "median") != "median":
        return math.inf
    middle = math.ceil(n / 2) - f
    return f / (n - 2 * f) * (math.sqrt(n) * (1 + 1 / math.sqrt(middle)) + 1) ** 2


@rule(
    label="spectral filter",
    tolerates=lambda n: (n - 1) // 2,
    kappa=_kappa,
    shardable=True,
)
def spectral_filter(
    updates: Updates, num_byzantine: int, *, center: Literal["median", "mean"] = "median"
) -> Aggregate:
    r"""The mean of the rows left once f of them are removed, one along each main direction.

    With S the rows that are left, v the top eigenvector of their centred covariance and
    p_i = <g_i, v>, the row of S with the largest

    .. math:: s_i = (p_i - \operatorname{med}_{j \in S} p_j)^2

    is removed, f times. DnC removes all f along one direction; here each removal sees the
    direction that is left, so colluders that split over several directions meet each of them.
    The median of the projections, not their mean, is the centre: where honest rows are skewed,
    the mean lies towards their tail, and rows of the other side look far.

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; with f = 0 the answer is the mean.
        center: of the projections, ``median`` or ``mean``.

    Guarantees, with ``median``, Definition 1 with

    .. math:: \kappa = \frac{f}{n - 2f}
        \left(\sqrt n \left(1 + \frac{1}{\sqrt k}\right) + 1\right)^2, \quad
        k = \lceil n / 2 \rceil - f

    which is finite, unlike DnC's, and grows with n. Proof: where no honest row is removed, all
    Byzantine ones are and the error is 0. At the first removal of an honest row i, k honest
    projections lie on either side of the median, hence within sqrt(h / k) sigma of the honest
    mean, h = n - f; row i lies within sqrt(h) sigma of it; every row of S is no farther from the
    median than i, so n times the top eigenvalue is at most n h (1 + 1 / sqrt k)^2 sigma^2, and
    later removals do not increase it. Of the h rows at the end at most f are Byzantine; they
    move the mean by at most sqrt(f / (h - f)) times the root of that eigenvalue, and the
    removed honest rows by sqrt(f / (h - f)) sigma. Cost: one read given the Gram, and f
    eigenvectors of an n x n matrix.

    References:
        Diakonikolas, Kamath, Kane, Li, Moitra, Stewart, Being Robust (in High Dimensions) Can Be
        Practical, ICML 2017 (filtering along the top eigenvector; the median and the removal of
        one row at a time are ours).
    """
    n = len(updates)
    left = torch.arange(n, device=updates.device)
    gram = updates.gram()
    for _ in range(num_byzantine):
        inner = gram[left][:, left]
        inner = inner - inner.mean(0) - inner.mean(1, keepdim=True) + inner.mean()
        _, along, _ = leading(inner)  # the rows' projections on v, up to one factor
        centre = along.median() if center == "median" else along.mean()
        far = (along - centre).square().argmax()
        left = left[torch.arange(len(left), device=left.device) != far]
    weights = torch.zeros(n, dtype=torch.float64, device=updates.device)
    weights[left] = 1 / len(left)
    return Aggregate(updates.combine(weights), weights)
