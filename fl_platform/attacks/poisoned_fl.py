"""PoisonedFL: one fixed random direction, at the largest strength that still moves the model."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Annotated, Any

import torch
from torch import Tensor

from fl_platform.attacks.models import check_model
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import Above, AtLeast, Between
from fl_platform.core.rng import generator
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="PoisonedFL", shardable="draws and keeps directions over all coordinates")
class PoisonedFl:
    """Updates with fixed signs whose magnitudes follow the global model's own last step.

    .. math::
        m &= |s_t - k_{t-1} \\lVert s_t\\rVert / \\lVert k_{t-1}\\rVert|,\\quad
        s_t = w_t - w_{t-1} \\\\
        k_t &= c_t\\,\\lVert s_t\\rVert\\,\\frac{m}{\\lVert m\\rVert}\\odot\\sigma,\\quad
        g_b = -k_t

    sigma is a constant vector of random signs, k_0 = 0. Every ``interval`` rounds a binomial test
    at ``level`` (normal approximation) compares the signs of the model's change over these rounds
    with sigma. If they agree in no more coordinates than by chance, c is multiplied by
    ``shrink``, as long as it stays at 0.5 or above.

    Args:
        seed: of the run; sigma is drawn from stream ``poisoned_fl``.
        strength: c at the start; 8 in the paper.
        interval: number of rounds between two tests, at least 1; 50 in the paper.
        shrink: factor of c after a test, in (0, 1]; 0.7 in the paper.
        level: significance level of the test; 0.01 in the paper.

    The instance is called with honest ``(h, d)``, f and ``model`` ``(d,)``, the global model
    w_t, and returns ``(f, d)`` equal rows, a stride-0 view: zeros in the first round, and where
    the model did not move. It uses no honest update. It raises TypeError or ValueError for inputs
    of a wrong type or value.

    Source: Y. Xie, M. Fang, N. Z. Gong, "Model Poisoning Attacks to Federated Learning via
    Multi-Round Consistency" (2025), Algorithm 1, as in their code. The step of the model is the
    step of the server's optimizer.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        strength: Annotated[float, Above(0)] = 8.0,
        interval: Annotated[int, AtLeast(1)] = 50,
        shrink: Annotated[float, Between(0, 1)] = 0.7,
        level: Annotated[float, Between(0, 1)] = 0.01,
    ) -> None:
        if not strength > 0 or interval < 1 or not 0 < shrink <= 1 or not 0 < level < 1:
            raise ValueError(
                "Expected strength > 0, interval >= 1, shrink in (0, 1] and level in (0, 1),"
                f" got {strength}, {interval}, {shrink} and {level}."
            )
        self.seed, self.interval, self.shrink, self.level = seed, interval, shrink, level
        self.strength = self.factor = strength
        self.calls = 0
        self.model: Tensor | None = None
        self.before: Tensor | None = None  # the model at the last test
        self.sent: Tensor | None = None

    def __call__(self, honest: Updates, num_byzantine: int, model: Tensor | None = None) -> Tensor:
        """``(f, d)`` rows of this round; each call advances the state."""
        check_inputs(honest, num_byzantine)
        now = check_model(honest, model, "poisoned_fl")
        signs = self._signs(now)
        if self.before is None:
            self.before = now.clone()
        elif self.calls % self.interval == 0:
            change = now - self.before.to(now)
            moved = torch.where(change == 0, now, change)
            d = len(now)
            most = d / 2 + NormalDist().inv_cdf(1 - self.level) * math.sqrt(d) / 2
            if int((moved.sign() == signs).sum()) < most and self.factor * self.shrink >= 0.5:
                self.factor *= self.shrink
            self.before = now.clone()
        sent = torch.zeros_like(now)
        if self.model is not None:
            sent = self._next(now - self.model.to(now), signs)
        self.model, self.sent = now.clone(), sent
        self.calls += 1
        return equal_rows(-sent, num_byzantine)

    def _next(self, step: Tensor, signs: Tensor) -> Tensor:
        length, scale = step.norm(), step.abs()
        if self.sent is not None and bool(self.sent.any()):
            last = self.sent.to(step)
            scale = (step - last * length / last.norm()).abs()
        size = scale.norm()
        return self.factor * length * scale * signs / size if size > 0 else torch.zeros_like(step)

    def _signs(self, like: Tensor) -> Tensor:
        stream = generator(self.seed, "poisoned_fl")
        return torch.randint(0, 2, (len(like),), generator=stream).to(like) * 2 - 1

    def state_dict(self) -> dict[str, Any]:
        """The state of the next call: number of calls, c, the models and the last sent row."""
        names = ("calls", "factor", "model", "before", "sent")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        for name, value in state.items():
            setattr(self, name, value)


poisoned_fl = PoisonedFl
