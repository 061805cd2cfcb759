"""FLTrust: rows weighted by their agreement with an update of the server."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.core.rule import rule
from fl_platform.defenses.references import check_reference


@rule(label="FLTrust", tolerates=lambda n: n, shardable=True)
def fltrust(updates: Updates, num_byzantine: int, reference: Tensor | None) -> Aggregate:
    r"""The mean of rows scaled to the reference's length, weighted by their positive cosine to it.

    .. math:: t_i = \max\left(0, \frac{\langle g_i, g_0\rangle}{\|g_i\| \|g_0\|}\right)
        \text{ (2)}, \quad \bar g_i = \frac{\|g_0\|}{\|g_i\|} g_i \text{ (3)}, \quad
        \hat g = \frac{\sum_i t_i \bar g_i}{\sum_i t_i} \text{ (4)}

    Args:
        updates: n rows of dimension d.
        num_byzantine: f, from 0 to n; not used.
        reference: ``(d,)`` g_0, the update of the server, trained like a client's on root data.
            A real server must own a small clean data set of the task.

    Where no row has a positive cosine the aggregate is zero, which keeps the model; the paper's
    quotient is 0 / 0 there. A row shorter than 1e-30 of the reference counts as cosine 0.

    Raises:
        ValueError: no reference, or a reference of another dimension.

    Guarantees: no kappa. The paper bounds the error by that of the reference, for any f. The
    aggregate is at most as long as the reference. Cost: two reads of the matrix.

    References:
        Cao, Fang, Liu, Gong, FLTrust: Byzantine-robust Federated Learning via Trust
        Bootstrapping, NDSS 2021, equations 2 to 4 (Algorithm 2).
    """
    own = check_reference(updates, reference, "fltrust")
    inner, squares = updates.aligned(own)
    lengths, length = squares.sqrt(), updates.length(own)
    usable = lengths > 1e-30 * length  # else the factor overflows float32
    trust = torch.where(usable & (length > 0), inner / (lengths * length), 0.0).clamp_min(0)
    total = trust.sum()
    if not total > 0:
        return Aggregate(torch.zeros_like(own), torch.zeros_like(trust), anchor_weight=1.0)
    weights = torch.where(usable, trust * length / lengths, 0.0) / total
    return Aggregate(updates.combine(weights), weights, float(1 - weights.sum()))
