"""The coordinate-wise trimmed mean, RBTM in the STRIKE paper."""

from __future__ import annotations

from typing import Annotated

from fl_platform.core import Aggregate, Updates, coordinatewise
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule


def _kappa(n: int, f: int, *, trim: int | None) -> float | None:
    return f / (n - 2 * f) if trim in (None, f) else None


def _trims(n: int, f: int, *, trim: int | None) -> int:
    return f if trim is None else min(trim, (n - 1) // 2)


@rule(label="RBTM", tolerates=lambda n: (n - 1) // 2, kappa=_kappa, shardable=True, trims=_trims)
def trimmed_mean(
    updates: Updates, num_byzantine: int, *, trim: Annotated[int, AtLeast(0)] | None = None
) -> Aggregate:
    r"""The mean of each coordinate without its f lowest and f highest values; no weights.

    .. math:: \hat g_k = \frac{1}{n - 2b} \sum_{i=b+1}^{n-b} g_{(i),k}

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2.
        trim: b, number of values dropped at each end: ``null`` is f (the definition); a fixed
            number, as in libraries without f, is lowered to (n - 1) // 2 if fewer rows arrive.

    Guarantees (f, kappa)-robustness with exactly kappa = f / (n - 2f) when b = f, the smallest of
    all rules.

    References:
        Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates,
        ICML 2018; El-Mhamdi et al., Collaborative Learning in the Jungle, NeurIPS 2021 (RBTM).

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import trimmed_mean
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> trimmed_mean(updates, 1).vector
        tensor([2.3333, 0.6667])
    """
    drop = _trims(len(updates), num_byzantine, trim=trim)
    return Aggregate(coordinatewise.trimmed_mean(updates, drop))
