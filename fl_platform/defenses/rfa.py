"""RFA: the geometric median by smoothed Weiszfeld steps."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates, geometry
from fl_platform.core.constraints import Above, AtLeast
from fl_platform.core.rule import rule

Start = Literal["inner", "mean", "median", "zero"]


def _kappa(n: int, f: int, *, iterations: int | str, **others: object) -> float | None:
    return 4 * (1 + f / (n - 2 * f)) ** 2 if iterations == "converged" else None


@rule(label="RFA", tolerates=lambda n: (n - 1) // 2, kappa=_kappa, shardable=True)
def rfa(
    updates: Updates,
    num_byzantine: int,
    *,
    start: Start = "inner",
    iterations: Literal["converged"] | Annotated[int, AtLeast(1)] = 8,
    eps: Annotated[float, Above(0)] = 1e-7,
    unit: Literal["spread", "one"] = "spread",
) -> Aggregate:
    r"""The point with the least sum of distances to all rows, by Weiszfeld steps.

    .. math:: z \leftarrow \sum_i w_i g_i, \quad w_i \propto 1 / \max(\epsilon, \|g_i - z\|)

    Every step yields a combination of rows, so the steps compute with n numbers and the Gram
    matrix; the matrix itself is read for the Gram, for some starts, and once at the end.

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; used by the start ``inner`` only.
        start: the first z. ``mean`` is the paper's and the STRIKE authors'; with rows of size
            1e10 eight steps from it do not reach the honest rows. ``inner`` is our own: the mean
            of the n - f rows with the least sums of distances, which f rows cannot move far.
            ``median`` is the coordinate-wise one (ByzPy); ``zero`` is ByzFL's and epfml's.
        iterations: number of steps; 8 in the STRIKE authors' code, 3 in ByzFL. ``converged`` is
            the geometric median itself: a row that is one is found by its optimality condition
            (the mean of them if there are several), else steps are taken until the gradient's
            length is below 1e-12 n; start and eps then have no effect.
        eps: a distance counts as at least eps times ``unit``.
        unit: ``spread``: the distance that half of all rows keep to the most central one, so that
            the scale of the rows has no effect. ``one``: eps itself, as in the STRIKE authors' code
            (1e-7), ByzFL and epfml (0.1), which has an effect on rows of that size.

    Guarantees (f, kappa)-robustness with kappa = 4 (1 + f / (n - 2f))^2 where the sum of
    distances at the result is no larger than at the honest mean, so always for ``converged``;
    in general
    ``||z - mean_G|| <= (2 sum_G ||g_i - mean_G|| + max(0, F(z) - F(mean_G))) / (n - 2f)``.

    References:
        Pillutla, Kakade, Harchaoui, Robust Aggregation for Federated Learning, IEEE TSP 2022.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import rfa
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> rfa(updates, 1).vector.round(decimals=2)
        tensor([2., 1.])
    """
    if iterations == "converged":
        weights = geometric_median_weights(updates.gram())
        return Aggregate(updates.combine(weights), weights)
    if unit not in ("spread", "one"):
        raise ValueError(f"Expected unit as spread or one, got {unit!r}.")
    if iterations < 1 or not eps > 0:
        raise ValueError(f"Expected iterations >= 1 and eps > 0, got {iterations} and {eps}.")
    squares = _squares_from_start(updates, num_byzantine, start)
    least = eps * (_typical_distance(updates.squared_distances()) if unit == "spread" else 1.0)
    weights = squares.new_full((len(updates),), torch.nan)
    for step in range(iterations):
        if step:
            squares = geometry.squared_distances_to(updates.gram(), weights)
        closeness = 1 / squares.sqrt().clamp_min(least)
        weights = closeness / closeness.sum()
    return Aggregate(updates.combine(weights), weights)


def _typical_distance(squares: Tensor) -> Tensor:
    """Scalar > 0: the least radius around a row that contains half of all rows.

    If half of them are equal, that row is the geometric median, and 1e-16 times the least
    positive distance gives it all weight; if all are equal, 1.
    """
    central = geometry.median_distances(squares).min()
    least = torch.where(squares > 0, squares, torch.inf).min()
    typical = torch.where(central > 0, central, 1e-32 * least)
    return torch.where(typical.isfinite(), typical, 1.0).sqrt()


def _squares_from_start(updates: Updates, f: int, start: Start) -> Tensor:
    """``(n,)`` squared distances to the first z, which may not be a combination of rows."""
    n = len(updates)
    if start == "median":
        return updates.squared_distances_to(updates.median())
    if start == "zero":
        origin = torch.zeros(updates.dimension, dtype=updates.dtype, device=updates.device)
        return updates.squared_distances_to(origin)
    gram = updates.gram()
    if start == "mean":
        return geometry.squared_distances_to(gram, gram.new_full((n,), 1 / n))
    if start == "inner":
        totals = updates.squared_distances().sqrt().sum(1)
        weights = torch.zeros_like(totals)
        weights.scatter_(0, totals.argsort(stable=True)[: n - f], 1 / (n - f))
        return geometry.squared_distances_to(gram, weights)
    raise ValueError(f"Expected start as inner, mean, median or zero, got {start!r}.")


def geometric_median_weights(gram: Tensor, *, most: int = 20_000) -> Tensor:
    """``(n,)`` weights of the point with the least sum of distances to all rows.

    Row k is such a point if the sum of the unit vectors from it to all different rows is no longer
    than the number of rows equal to it. This is tested first, because Weiszfeld's steps approach a
    row slowly; towards every other point they converge at a linear rate.

    Args:
        gram: ``(n, n)`` float64 inner products about any common point.
        most: maximum number of steps, after which the best point so far is returned.
    """
    distances = geometry.squared_distances(gram).sqrt()
    scale = distances.max()
    apart = distances > 1e-9 * scale
    pulls = torch.where(apart, 1 / distances, 0.0)
    towards = pulls - torch.diag(pulls.sum(1))  # row k: the unit vectors from k, on the rows
    lengths = ((towards @ gram) * towards).sum(1).clamp_min(0).sqrt()
    optimal = lengths <= (~apart).sum(1) * (1 + 1e-9)
    if bool(optimal.any()):
        return optimal.double() / optimal.sum()
    weights = gram.new_full((len(gram),), 1 / len(gram))
    for _ in range(most):
        closeness = 1 / geometry.squared_distances_to(gram, weights).sqrt()
        step = closeness / closeness.sum()
        change = step - weights
        gradient = closeness.sum() * (change @ gram @ change).clamp_min(0).sqrt()
        weights = step
        if float(gradient) <= 1e-12 * len(gram):
            break
    return weights
