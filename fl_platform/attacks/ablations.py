"""Ablations of STRIKE: the effect of the skewed set, and the effect of the strength."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.attacks.directions import Side, toward
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.attacks.strike import hidden_row, strength
from fl_platform.core.constraints import AtLeast
from fl_platform.core.deferred import number, over, sent, sqrt
from fl_platform.core.rng import generator
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates
from fl_platform.metrics.skewed_set import MedianStart, hiding_space, skewed, skewed_size
from fl_platform.metrics.spread import offsets_sq


@rule(label="STRIKE, ablated", shardable=True)
class StrikeAblation:
    """STRIKE's second stage, applied to another set than the skewed one.

    .. math:: g_b = \\bar g_S + \\nu\\,\\alpha^*\\,\\mathrm{sign}(l)\\odot\\sigma_S

    with l = mean of S - mean as in eq. 12, and alpha* the largest step within S's diameter.

    Args:
        seed: of the run; a random set of call t is drawn from stream ``strike_ablation`` at t.
        skewed_set: ``random``: h - f rows, drawn anew in each round; ``all``: every honest row,
            where mean of S - mean vanishes and l is the search direction median - mean;
            ``reversed``: the h - f rows of *lowest* projection, the reverse of the search;
            ``skewed``: STRIKE itself, as the control.
        nu: strength >= 0 as in STRIKE.
        median: as in STRIKE.

    The instance is called with honest ``(h, d)`` and f and returns ``(f, d)`` equal rows, a
    stride-0 view; it raises TypeError or ValueError for inputs of a wrong type or value.
    Where h <= f the set is a single row, as with STRIKE's ``single``.

    Source: our own; controls for Y. Liu et al., "Exploit Gradient Skewness to Circumvent
    Byzantine Defenses for Federated Learning" (2025), whose text has no such comparison.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        skewed_set: Literal["random", "all", "reversed", "skewed"] = "random",
        nu: Annotated[float, AtLeast(0)] = 1.0,
        median: MedianStart = "midpoint",
    ) -> None:
        if skewed_set not in ("random", "all", "reversed", "skewed"):
            raise ValueError(
                f"Expected skewed_set random, all, reversed or skewed, got {skewed_set!r}."
            )
        self.seed, self.skewed_set, self.nu, self.median = seed, skewed_set, nu, median
        self.calls = 0

    def __call__(self, honest: Updates, num_byzantine: int) -> Tensor:
        """``(f, d)`` rows of this round; each call advances the state."""
        check_inputs(honest, num_byzantine)
        call, self.calls = self.calls, self.calls + 1
        if num_byzantine == 0:
            return equal_rows(honest.mean(), 0)
        rows = len(honest)
        size = rows if self.skewed_set == "all" else skewed_size(rows, num_byzantine)
        if self.skewed_set == "random":
            stream = generator(self.seed, "strike_ablation", call)
            index = torch.randperm(rows, generator=stream)[:size].sort().values
            space = hiding_space(honest, sent(index, honest.device))
        else:
            reverse = self.skewed_set == "reversed"
            space = skewed(honest, size, self.median, reverse=reverse).space
        return equal_rows(hidden_row(space, self.nu), num_byzantine)

    def state_dict(self) -> dict[str, Any]:
        """Number of attacked rounds so far."""
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.calls = state["calls"]


@rule(label="LIE, matched", shardable=True)
def lie_matched(
    honest: Updates,
    num_byzantine: int,
    *,
    match: Literal["step", "total", "given"] = "step",
    distance: Annotated[float, AtLeast(0)] = 1.0,
    side: Side = "above",
) -> Tensor:
    """LIE with the z that places the row at a given distance from the honest mean.

    .. math:: g_b = \\bar g \\pm z\\,\\sigma,\\quad \\lVert z\\,\\sigma\\rVert = r

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f >= 0.
        match: r is ``step``: the distance of STRIKE's row from the mean of S; ``total``: the
            distance of STRIKE's row from the honest mean; ``given``: ``distance`` times the
            honest root-mean-square radius.
        distance: used where ``match`` is ``given``, >= 0.
        side: ``above`` or ``below``, as in LIE.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view.

    Raises:
        TypeError, ValueError: wrong type or value of an input, unknown names.

    Source: our own; the same strength without the skewed set, to compare with STRIKE. The
    direction is that of G. Baruch, M. Baruch, Y. Goldberg, "A Little Is Enough:
    Circumventing Defenses For Distributed Learning" (2019).

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.attacks import lie_matched
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> lie_matched(honest, 1)
        tensor([[2.8044, 1.3430]])
    """
    check_inputs(honest, num_byzantine)
    if match not in ("step", "total", "given"):
        raise ValueError(f"Expected match step, total or given, got {match!r}.")
    mean = honest.mean()
    if num_byzantine == 0:
        return equal_rows(mean, 0)
    if match == "given":
        radius = distance * sqrt(number(offsets_sq(honest).mean()))
    else:
        space = skewed(honest, skewed_size(len(honest), num_byzantine)).space
        step = strength(space) * space.direction
        radius = honest.length(step if match == "step" else space.centre + step - mean)
    direction = toward(honest, "std", side)
    length = honest.length(direction)
    return equal_rows(mean + over(radius, length) * direction, num_byzantine)


strike_ablation = StrikeAblation
