"""Mimic: all Byzantine clients send a copy of one honest client's update."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.attacks.directions import along
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import AtLeast
from fl_platform.core.deferred import chosen, number, on_device, sent
from fl_platform.core.rng import generator
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="Mimic", shardable="draws and keeps one direction over all coordinates")
class Mimic:
    """Copies of the honest row with the largest projection on the direction of largest variance.

    .. math::
        \\mu_{t+1} &= \\tfrac{t}{1+t}\\mu_t + \\tfrac{1}{1+t}\\bar g^t \\\\
        z_{t+1} &= \\tfrac{t}{1+t}z_t + \\tfrac{1}{1+t}
        \\frac{C_t z_t}{\\lVert C_t z_t\\rVert},\\quad
        C_t = \\sum_i (g_i^t - \\mu_{t+1})(g_i^t - \\mu_{t+1})^\\top \\\\
        g_b &= g_{i^*},\\quad i^* = \\arg\\max_i \\langle z, g_i\\rangle

    Args:
        seed: of the run; z starts at a random unit vector drawn from stream ``mimic``.
        warmup: number of rounds in which z, mu and the target are updated, at least 1.
        after: ``frozen`` keeps z and the target row after the warm-up; ``again`` (the official
            STRIKE code) updates both in every round.
        score: ``signed`` takes the largest <z, g_i>, ``absolute`` (official code) the
            largest absolute value.
        centre: ``running`` centres on mu; ``current`` (official code) on this round's mean.
        copied: ``chosen`` as above, or the number of the honest row that is copied in every round
            (ByzFL, FLPoison, ByzPy and FL-Byz-Lib, with 0), of fewer rows the last; nothing else
            plays a part then.

    The instance is called with honest ``(h, d)`` and f and returns ``(f, d)`` equal rows, a
    stride-0 view; it raises TypeError or ValueError for inputs of a wrong type or value.
    A frozen target is a row number: where clients are sampled and the number of honest rows
    changes, the row of largest score under the frozen z is sent instead.

    Source: S. P. Karimireddy, L. He, M. Jaggi, "Byzantine-Robust Learning on Heterogeneous
    Datasets via Bucketing" (2022), as in their code (power step normalised, warm-up of one
    round by default).

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.attacks import mimic
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> mimic(seed=0)(honest, 2).tolist()
        [[0.0, 0.0], [0.0, 0.0]]
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        warmup: Annotated[int, AtLeast(1)] = 1,
        after: Literal["frozen", "again"] = "frozen",
        score: Literal["signed", "absolute"] = "signed",
        centre: Literal["running", "current"] = "running",
        copied: Literal["chosen"] | Annotated[int, AtLeast(0)] = "chosen",
    ) -> None:
        for name, value, known in (
            ("after", after, ("frozen", "again")),
            ("score", score, ("signed", "absolute")),
            ("centre", centre, ("running", "current")),
        ):
            if value not in known:
                raise ValueError(f"Expected {name} {known[0]} or {known[1]}, got {value!r}.")
        if warmup < 1:
            raise ValueError(f"Expected warmup >= 1, got {warmup}.")
        if copied != "chosen" and not (isinstance(copied, int) and copied >= 0):
            raise ValueError(f"Expected copied as chosen or a row number, got {copied!r}.")
        self.seed, self.warmup = seed, warmup
        self.after, self.score, self.centre, self.copied = after, score, centre, copied
        self.calls = 0
        self.direction: Tensor | None = None
        self.running_mean: Tensor | None = None
        # The row (a tensor on the device) and the h from which it was chosen.
        self.target: tuple[int | Tensor, int] | None = None

    def __call__(self, honest: Updates, num_byzantine: int) -> Tensor:
        """``(f, d)`` rows of this round; each call advances the state."""
        check_inputs(honest, num_byzantine)
        if isinstance(self.copied, int):
            return self._copies(honest, min(self.copied, len(honest) - 1), num_byzantine)
        learning = self.calls < self.warmup or self.after == "again"
        if learning:
            self._learn(honest)
        if learning or self.target is None or self.target[1] != len(honest):
            row = self._choose(honest)
            if learning:
                self.target = (row, len(honest))
        else:
            row = self.target[0]
        self.calls += 1
        return self._copies(honest, row, num_byzantine)

    def _copies(self, honest: Updates, row: int | Tensor, num_byzantine: int) -> Tensor:
        only = (torch.arange(len(honest), device=honest.device) == row).double()
        return equal_rows(honest.combine(only), num_byzantine)

    def _learn(self, honest: Updates) -> None:
        t, mean = self.calls, honest.mean()
        if self.running_mean is None or self.direction is None:
            self.running_mean = mean.clone()
            draw = torch.randn(honest.dimension, generator=generator(self.seed, "mimic"))
            start = sent(draw, mean.device).to(mean)
            self.direction = power_step(honest, mean, start / start.norm())
            return
        old_z, old_mean = self.direction.to(mean), self.running_mean.to(mean)
        self.running_mean = (t * old_mean + mean) / (1 + t)
        centre = self.running_mean if self.centre == "running" else mean
        self.direction = (t * old_z + power_step(honest, centre, old_z)) / (1 + t)

    def _choose(self, honest: Updates) -> int | Tensor:
        assert self.direction is not None
        z = self.direction.to(honest.centre())
        # Uncentred, as in both codes: |<z, g>| depends on the origin.
        scores = honest.project(z) + honest.centre().double() @ z.double()
        row = (scores if self.score == "signed" else scores.abs()).argmax()
        return row if on_device(row) else int(row)

    def state_dict(self) -> dict[str, Any]:
        """The state of the next call: number of calls, z, mu and the target."""
        return {
            "calls": self.calls,
            "direction": self.direction,
            "running_mean": self.running_mean,
            "target": self.target,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.calls = state["calls"]
        self.direction = state["direction"]
        self.running_mean = state["running_mean"]
        self.target = None if state["target"] is None else tuple(state["target"])


def power_step(honest: Updates, centre: Tensor, z: Tensor) -> Tensor:
    """``(d,)`` C z at unit length, C the scatter of the rows about ``centre``; z where C z = 0."""
    weights = -along(honest, centre, z)
    turned = honest.combine(weights) - weights.sum().to(centre) * centre
    length = number(turned.double().norm())
    return chosen(length > 0, lambda: turned / length, z)


mimic = Mimic
