"""The mean of the updates: federated averaging, which tolerates no Byzantine client."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.core.deferred import assumed, sent
from fl_platform.core.rule import rule


@rule(
    label="Mean",
    tolerates=lambda n: n,
    kappa=lambda n, f, **parameters: math.inf if f else 0.0,
    shardable=True,
)
def mean(
    updates: Updates,
    num_byzantine: int,
    sizes: Tensor | None = None,
    *,
    weighting: Literal["uniform", "data"] = "uniform",
) -> Aggregate:
    r"""The weighted mean of all rows; tolerates no Byzantine row, accepts any f.

    .. math:: \hat g = \sum_i w_i g_i, \quad w_i = 1/n \text{ or } n_i / \sum_j n_j

    Args:
        updates: n rows of dimension d.
        num_byzantine: f, from 0 to n; not used.
        sizes: ``(n,)`` number of samples per client, at least 0; required by ``data``.
        weighting: ``uniform`` is eq. 3; ``data`` is FedAvg's, with which a Byzantine client
            can set its own weight. The STRIKE authors' code uses ``data`` for the mean only.

    Raises:
        ValueError: ``data`` without usable sizes.

    References:
        McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized
        Data, AISTATS 2017.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import mean
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> mean(updates, 1).vector
        tensor([ 19.6000, -17.2000])
    """
    n = len(updates)
    weights = torch.full((n,), 1 / n, dtype=torch.float64, device=updates.device)
    if weighting == "data":
        weights = _shares(sizes, weights)
    elif weighting != "uniform":
        raise ValueError(f"Expected weighting as uniform or data, got {weighting!r}.")
    return Aggregate(updates.combine(weights), weights)


def _shares(sizes: Tensor | None, like: Tensor) -> Tensor:
    usable = sizes is not None and sizes.shape == like.shape
    if sizes is None or not usable or not assumed(~(sizes < 0).any() & sizes.any()):
        got = None if sizes is None else sizes.tolist()
        raise ValueError(
            f"Expected {len(like)} numbers of samples, none negative and not all zero, for"
            f" weighting=data, got {got}; pass sizes, or use weighting=uniform."
        )
    shares = sent(sizes, like.device).to(like)
    return shares / shares.sum()
