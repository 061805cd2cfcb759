"""Phocas: per coordinate, the mean of the n - f values nearest to the trimmed mean."""

from __future__ import annotations

from fl_platform.core import Aggregate, Updates
from fl_platform.core.coordinatewise import mean_nearest
from fl_platform.core.rule import rule


@rule(label="Phocas", tolerates=lambda n: (n - 1) // 2, shardable=True)
def phocas(updates: Updates, num_byzantine: int) -> Aggregate:
    r"""For each coordinate, the mean of the n - f values nearest to its trimmed mean; no weights.

    .. math:: \hat g_k = \operatorname{mean}\{n - f \text{ values } g_{i,k} \text{ nearest to }
        \operatorname{trmean}_f(g_{\cdot,k})\}

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2, first trimmed at each end, then left out. Of two equally near
            values the lower one stays.

    Guarantees, in the paper, a bounded distance to the honest mean; we know of no kappa.
    Cost: one read of the matrix, and a sorting network of each column.

    References:
        Xie, Koyejo, Gupta, Phocas: Dimensional Byzantine-resilient Stochastic Gradient Descent,
        2018.
    """
    return Aggregate(mean_nearest(updates, len(updates) - num_byzantine, "trimmed"))
