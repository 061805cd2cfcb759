"""Gaussian: rows of noise that depend at most on the honest mean."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rng import generator
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="Gaussian", shardable="draws numbers for every coordinate")
class Gaussian:
    """Independent normal numbers in every coordinate.

    .. math:: (g_b)_k \\sim N(m_k, \\sigma^2)

    Args:
        seed: of the run; the draws of call t come from stream ``gaussian`` at t.
        mu: added to every coordinate.
        sigma: standard deviation, in units of the updates; 1 in ByzFL. Its effect depends on the
            task: state it.
        around: m is ``zero`` plus mu (ByzFL, FLPoison), or the honest ``mean`` plus mu
            (FL-Byzantine-Library).
        draw: ``each`` row independently, or ``one`` row that all f send (ByzFL).

    The instance is called with honest ``(h, d)`` and f and returns ``(f, d)``; it raises
    TypeError or ValueError for inputs of a wrong type or value.

    Source: P. Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent" (2017), who send Gaussian rows of a large variance.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        mu: float = 0.0,
        sigma: Annotated[float, AtLeast(0)] = 1.0,
        around: Literal["zero", "mean"] = "zero",
        draw: Literal["each", "one"] = "each",
    ) -> None:
        if around not in ("zero", "mean") or draw not in ("each", "one") or not sigma >= 0:
            raise ValueError(
                "Expected around zero or mean, draw each or one and sigma >= 0,"
                f" got {around!r}, {draw!r} and {sigma}."
            )
        self.seed, self.mu, self.sigma, self.around, self.draw = seed, mu, sigma, around, draw
        self.calls = 0

    def __call__(self, honest: Updates, num_byzantine: int) -> Tensor:
        """``(f, d)`` rows of this round; each call draws anew."""
        check_inputs(honest, num_byzantine)
        stream = generator(self.seed, "gaussian", self.calls)
        self.calls += 1
        like = honest.mean()
        centre = like + self.mu if self.around == "mean" else torch.full_like(like, self.mu)
        rows = 1 if self.draw == "one" else num_byzantine
        drawn = torch.randn(rows, honest.dimension, generator=stream).to(like)
        sent = centre + self.sigma * drawn
        return equal_rows(sent[0], num_byzantine) if self.draw == "one" else sent

    def state_dict(self) -> dict[str, Any]:
        """Number of rounds drawn so far."""
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.calls = state["calls"]


gaussian = Gaussian
