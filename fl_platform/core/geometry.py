"""Distances from a Gram matrix, and the largest step of a point within a bound on distances.

All functions take O(m^2) or less, in float64, and do not read the (m, d) matrix.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fl_platform.core.deferred import Number, assumed, chosen, finite, number, on_device
from fl_platform.core.native import cuda_kernels


def squared_distances(gram: Tensor) -> Tensor:
    """Squared distances between rows from their inner products about any common point.

    .. math:: \\|g_i - g_j\\|^2 = G_{ii} + G_{jj} - 2 G_{ij}

    Args:
        gram: ``(m, m)`` float64.

    Returns:
        ``(m, m)``, symmetric, at least zero, zeros on the diagonal.

    Example:
        >>> import torch
        >>> from fl_platform.core.geometry import squared_distances
        >>> rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
        >>> squared_distances(rows @ rows.T).tolist()
        [[0.0, 25.0], [25.0, 0.0]]
    """
    norms = gram.diagonal()
    squares = norms[:, None] + norms[None, :] - 2 * gram
    return ((squares + squares.T) / 2).clamp_min(0).fill_diagonal_(0)


def squared_distances_to(gram: Tensor, weights: Tensor) -> Tensor:
    """Squared distances of the rows to the point ``weights @ rows``, from the Gram alone.

    .. math:: \\|g_i - w^\\top g\\|^2 = G_{ii} - 2 (G w)_i + w^\\top G w

    Args:
        gram: ``(m, m)`` float64, about any common point.
        weights: ``(m,)`` with sum 1; otherwise the result depends on the common point.

    Returns:
        ``(m,)`` float64, at least zero.
    """
    weights = weights.to(gram)
    inner = gram @ weights
    return (gram.diagonal() - 2 * inner + weights @ inner).clamp_min(0)


def median_distances(squares: Tensor) -> Tensor:
    """``(m,)`` squared distance from each row within which half of all rows lie.

    With an honest majority, no minority can give a far row a small value. Distances that are NaN
    count as infinite.
    """
    ordered = squares.nan_to_num(nan=math.inf, posinf=math.inf).sort(1).values
    return ordered[:, squares.shape[0] // 2]


def leading(gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The largest eigenvalue of an ``(m, m)`` float64 Gram, its vector, the sum of eigenvalues.

    A GPU squares the matrix until one eigenvector remains, since the host waits for its
    eigensolver. The accuracy of both depends on the gap below the largest eigenvalue; if it is
    zero, any vector of the largest eigenvalue is correct.

    Returns:
        Scalars, and ``(m,)`` of unit length and arbitrary sign; negative eigenvalues, which come
        from rounding only, count as 0 in the sum (on a GPU with their value).
    """
    if not on_device(gram):
        values, vectors = torch.linalg.eigh(gram)
        return values[-1], vectors[:, -1], values.clamp_min(0).sum()
    found = cuda_kernels.leading(gram)
    if found is not None:
        return found[0], found[1:], gram.diagonal().sum()
    power = gram
    for _ in range(cuda_kernels.SQUARINGS):
        trace = power.diagonal().sum()
        power = power / torch.where(trace > 0, trace, 1.0)
        power = power @ power
    best = power.index_select(1, power.diagonal().argmax()[None])[:, 0]
    length = torch.linalg.vector_norm(best)
    vector = torch.where(length > 0, best / length, 1 / len(gram) ** 0.5)
    return vector @ (gram @ vector), vector, gram.diagonal().sum()


def largest_step(offsets_sq: Tensor, along: Tensor, step_sq: Number, bound_sq: Number) -> Number:
    """The largest step along a direction that keeps every distance within a bound.

    .. math:: \\max\\{\\alpha \\ge 0 : c_s + 2 \\alpha b_s + \\alpha^2 a \\le D^2 \\ \\forall s\\}

    With start ``p``, direction ``v`` and rows ``g_s``: ``c_s = ||p - g_s||^2``,
    ``b_s = <p - g_s, v>``, ``a = ||v||^2``. Each constraint is convex in alpha, so where
    alpha = 0 is feasible the feasible set is an interval that starts there and ends at the
    smallest positive root. The root is taken in the form that does not cancel.

    Args:
        offsets_sq: ``(m,)`` c, at most ``bound_sq`` except for rounding (larger values count as
            equal to the bound).
        along: ``(m,)`` b.
        step_sq: a >= 0; 0 means no direction, and the step is 0.
        bound_sq: D squared.

    Returns:
        alpha, 0 where ``step_sq`` is 0.

    Raises:
        ValueError: the two vectors differ in shape, are empty, or an input is not finite.

    Example:
        >>> import torch
        >>> from fl_platform.core.geometry import largest_step
        >>> one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        >>> largest_step(zero, zero, step_sq=4.0, bound_sq=100.0)  # |2 step| <= 10
        5.0
    """
    if offsets_sq.ndim != 1 or offsets_sq.shape != along.shape or not len(along):
        raise ValueError(
            "Expected offsets_sq and along of one shape (m,) with m >= 1,"
            f" got {tuple(offsets_sq.shape)} and {tuple(along.shape)}."
        )
    if not isinstance(step_sq, Tensor) and step_sq == 0:
        return 0.0
    room = (bound_sq - offsets_sq.double()).clamp_min(0)
    slope = along.double()
    root = (slope.square() + step_sq * room).sqrt()
    away = slope > 0  # the distance of this row grows from the start
    steps = torch.where(away, room / torch.where(away, slope + root, 1.0), (root - slope) / step_sq)
    step = number(steps.min())
    if not assumed(finite(step) | (step_sq == 0)):
        raise ValueError(
            "Expected finite distances and a step_sq that does not overflow,"
            f" got step_sq={step_sq:g}, bound_sq={bound_sq:g} and a step of {step}."
            " Drop rows that are not finite first."
        )
    return chosen(step_sq != 0, lambda: step, 0.0)
