"""Empirical and proven robustness constants of rules: (f, kappa)-robustness.

Definition 1 (eq. 5) after Y. Allouah et al., "Fixing by Mixing: A Recipe for Optimal Byzantine
ML under Heterogeneity" (2023): for every set G of n - f rows the aggregate A satisfies
|A - mean of G|^2 <= kappa V_G, V_G the mean squared distance of G from its mean. In eq. 5 the
paper sums over S; G is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fl_platform.core.rule import facts_of, settings_of
from fl_platform.core.updates import Updates


def empirical_kappa(
    updates: Updates, aggregate: Tensor, num_honest: int, *, swaps: int = 20
) -> dict[str, float]:
    r"""Smallest kappa consistent with this round: for the honest rows as G, and at worst.

    .. math:: \kappa(G) = \frac{\|A - \bar g_G\|^2}{V_G}, \quad
        V_G = \frac1h \sum_{i \in G} \|g_i - \bar g_G\|^2 \quad\text{(5)}

    Args:
        updates: ``(n, d)`` received rows, the honest ones first.
        aggregate: ``(d,)`` aggregate of the rule.
        num_honest: h = n - f, the size of G, from 1 to n.
        swaps: Maximum number of improving exchanges of a row in G for one outside, per start.

    Returns:
        ``kappa``: for the honest rows as G. ``kappa_worst``: the largest found, starting from
        the honest rows, the last h rows, and the h rows nearest to and farthest from the
        aggregate, each improved by exchanges. Both are certified lower bounds of the rule's kappa
        at this f. 0 / 0 is 0, other ratios over 0 are infinite.

    Raises:
        ValueError: The aggregate has another dimension, or h is outside 1 to n.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.metrics import empirical_kappa
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> values = empirical_kappa(updates, updates.mean(), num_honest=4)
        >>> round(values["kappa"], 1)
        641.0
    """
    rows = len(updates)
    if aggregate.shape != (updates.dimension,) or not 1 <= num_honest <= rows:
        raise ValueError(
            f"Expected an aggregate of shape ({updates.dimension},) and 1 <= num_honest <= {rows},"
            f" got {tuple(aggregate.shape)} and num_honest={num_honest}."
        )
    products = kappa_products(updates, aggregate)
    gram, inner = products["gram"].cpu(), products["inner"].cpu()
    return kappa_found(gram, inner, float(products["length_sq"]), num_honest, swaps=swaps)


def kappa_products(updates: Updates, aggregate: Tensor) -> dict[str, Any]:
    """Inputs of `kappa_found`: ``gram`` ``(n, n)``; ``inner`` ``(n,)`` and ``length_sq``, inner
    products of the rows and of itself with the aggregate minus the centre of the Gram."""
    off = aggregate.double() - updates.centre().double()
    inner = updates.project(off.to(aggregate))
    return {"gram": updates.gram(), "inner": inner, "length_sq": updates.dot(off, off)}


def kappa_found(
    gram: Tensor, inner: Tensor, length_sq: float, num_honest: int, *, swaps: int = 20
) -> dict[str, float]:
    """`empirical_kappa` from inner products, on the CPU."""
    rows = len(gram)
    distances = gram.diagonal() - 2 * inner + length_sq
    nearest = distances.argsort(stable=True)
    everyone = torch.arange(rows)
    starts = [
        everyone[:num_honest],
        everyone[rows - num_honest :],
        nearest[:num_honest],
        nearest[rows - num_honest :],
    ]
    search = _Search(gram, inner, length_sq)
    honest = search.kappa(starts[0])
    return {
        "kappa": honest,
        "kappa_worst": max([honest, *(search.climb(start, swaps) for start in starts)]),
    }


class _Search:
    """kappa of sets of rows, from inner products about the centre c of the Gram."""

    def __init__(self, gram: Tensor, inner: Tensor, length_sq: float) -> None:
        self.gram, self.inner, self.length_sq = gram, inner, length_sq

    def kappa(self, chosen: Tensor) -> float:
        """|A - mean|^2 / V of the rows ``chosen``."""
        block = self.gram[chosen][:, chosen]
        off = self.length_sq - 2 * self.inner[chosen].mean() + block.mean()
        return float(_over(off, block.diagonal().mean() - block.mean()))

    def climb(self, chosen: Tensor, swaps: int) -> float:
        """Largest kappa that exchanges of single rows reach from ``chosen``."""
        size, best = len(chosen), self.kappa(chosen)
        inside = torch.zeros(len(self.gram), dtype=torch.bool)
        inside[chosen] = True
        for _ in range(swaps):
            into, out = (~inside).nonzero()[:, 0], inside.nonzero()[:, 0]
            if not len(into):
                return best
            sums = self.gram[:, out].sum(1)
            total, norms = sums[out].sum(), self.gram.diagonal()
            # |sum of G|^2, sum of |g|^2 and <sum of G, A> after each exchange: (in, out) tables.
            change = 2 * (sums[into][:, None] - sums[out])
            change += norms[into][:, None] + norms[out] - 2 * self.gram[into][:, out]
            squared = (total + change) / size**2
            mean_norm = (norms[out].sum() + norms[into][:, None] - norms[out]) / size
            along = (self.inner[out].sum() + self.inner[into][:, None] - self.inner[out]) / size
            table = _over(self.length_sq - 2 * along + squared, mean_norm - squared)
            value, where = float(table.max()), int(table.argmax())
            if not value > best:
                return best
            best = value
            inside[into[where // len(out)]] = True
            inside[out[where % len(out)]] = False
        return best


def _over(part: Tensor, whole: Tensor) -> Tensor:
    part, whole = part.clamp_min(0), whole.clamp_min(0)
    return torch.where(part == 0, 0.0, part / whole)


def kappa_floor(n: int, f: int) -> float:
    r"""Lower bound f / (n - 2f) of the kappa of any rule.

    .. math:: \kappa \ge \frac{f}{n - 2 f}

    Example:
        >>> from fl_platform.metrics import kappa_floor
        >>> round(kappa_floor(50, 10), 4)
        0.3333
    """
    _check(n, f)
    return f / (n - 2 * f)


def kappa_bound(rule: Callable[..., Any], n: int, f: int) -> float | None:
    r"""Proven kappa of ``rule`` for n rows, f of them Byzantine.

    .. math:: \|A - \bar g_G\|^2 \le \kappa V_G \text{ for every } G
        \text{ of } n - f \text{ rows} \quad\text{(5)}

    A fact of the rule (`core.rule.Facts.kappa`), valid for its parameters.

    Args:
        rule: A rule, an instance of one, or a partial of either, such as ``median(kind="lower")``.
        n: Number of rows.
        f: Number of Byzantine rows, 0 <= f < n / 2.

    Returns:
        The constant; infinite if the rule has none for this f (``mean``, ``dnc``,
        ``centered_clipping`` with its fixed radius); ``None`` if it is unknown.

    Raises:
        ValueError: f is outside 0 <= f < n / 2.

    Example:
        >>> from fl_platform.defenses import trimmed_mean
        >>> from fl_platform.metrics import kappa_bound
        >>> round(kappa_bound(trimmed_mean, 50, 10), 4)
        0.3333
    """
    _check(n, f)
    kappa = facts_of(rule).kappa
    return None if kappa is None else kappa(n, f, **settings_of(rule))


def nnm_kappa(inner: float, n: int, f: int) -> float:
    r"""kappa of a rule with kappa ``inner`` after NNM, itself included: 8 f / (n - f) (k + 1).

    .. math:: \kappa' = \frac{8 f}{n - f} (\kappa + 1)

    Example:
        >>> from fl_platform.metrics import nnm_kappa
        >>> nnm_kappa(0.5, 50, 10)
        3.0
    """
    _check(n, f)
    return 8 * f / (n - f) * (inner + 1) if f else inner


def _check(n: int, f: int) -> None:
    if f < 0 or 2 * f >= n:
        raise ValueError(f"Expected 0 <= f < n / 2, got n={n} and f={f}.")
