"""Mean around median: per coordinate, the mean of the n - f values nearest to the median."""

from __future__ import annotations

from fl_platform.core import Aggregate, Updates
from fl_platform.core.coordinatewise import mean_nearest
from fl_platform.core.rule import rule
from fl_platform.defenses.median import MedianKind


@rule(label="MeaMed", tolerates=lambda n: (n - 1) // 2, shardable=True)
def mea_med(updates: Updates, num_byzantine: int, *, center: MedianKind = "midpoint") -> Aggregate:
    r"""For each coordinate, the mean of the n - f values nearest to its median; no weights.

    .. math:: \hat g_k = \operatorname{mean}\{n - f \text{ values } g_{i,k} \text{ nearest to }
        \operatorname{med}_k\}

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2. Of two equally near values the lower one stays.
        center: the median for even n, as in :func:`median`.

    Guarantees, in the paper, a bounded distance to the honest mean; we know of no kappa.
    Cost: one read of the matrix, and a sorting network of each column.

    References:
        Xie, Koyejo, Gupta, Generalized Byzantine-tolerant SGD, 2018
        (mean around median).
    """
    if center not in ("midpoint", "lower", "upper"):
        raise ValueError(f"Expected center as midpoint, lower or upper, got {center!r}.")
    return Aggregate(mean_nearest(updates, len(updates) - num_byzantine, center))
