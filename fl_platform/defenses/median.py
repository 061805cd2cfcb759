"""The coordinate-wise median."""

from __future__ import annotations

from typing import Literal

from fl_platform.core import Aggregate, Updates
from fl_platform.core.rule import rule

MedianKind = Literal["midpoint", "lower", "upper"]


def median_kappa(n: int, f: int, *, kind: MedianKind) -> float:
    """The exact constant of the median for 0 <= f < n / 2; see :func:`median`."""
    if n % 2:
        return ((n - 1) / 2) / ((n + 1) / 2 - f)
    between = (n / 2 - 1) / (n / 2 - f + 1)
    return between if kind == "midpoint" else max((n / 2) / (n / 2 - f), between)


@rule(
    label="Median",
    tolerates=lambda n: (n - 1) // 2,
    kappa=median_kappa,
    shardable=True,
    trims=lambda n, f, kind: (n - 1) // 2,
)
def median(updates: Updates, num_byzantine: int, *, kind: MedianKind = "midpoint") -> Aggregate:
    r"""The median of each coordinate; O(n d), no weights.

    .. math:: \hat g_k = \operatorname{median}(g_{1,k}, \ldots, g_{n,k})

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; the value does not depend on it.
        kind: for even n, ``midpoint`` averages the two middle values (the paper's definition;
            ByzFL, Flower), ``lower`` takes the smaller (``torch.median``), ``upper`` the larger.
            The STRIKE authors' code takes the lower of ``w_i - w``, which is the upper of our
            ``w - w_i``.

    Guarantees (f, kappa)-robustness with exactly kappa = ((n-1)/2) / ((n+1)/2 - f) for odd n;
    for even n, (n/2 - 1) / (n/2 - f + 1) for ``midpoint`` and n / (n - 2f) for the others.

    References:
        Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates,
        ICML 2018.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import median
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> median(updates, 1).vector.tolist()
        [2.0, 1.0]
    """
    if kind not in ("midpoint", "lower", "upper"):
        raise ValueError(f"Expected kind as midpoint, lower or upper, got {kind!r}.")
    return Aggregate(updates.median(kind))
