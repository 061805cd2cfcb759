"""MPAF: fake clients move the global model towards a base model."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from fl_platform.attacks.models import check_model
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import Above, AtLeast
from fl_platform.core.rng import generator
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="MPAF", shardable="draws and keeps one model over all coordinates")
class Mpaf:
    """A large step from the global model towards a base model of low accuracy.

    .. math:: g_b = \\lambda\\,(w_t - w')

    Args:
        seed: of the run; w' is drawn once from stream ``mpaf``.
        scale: lambda > 0; 1e6 in the paper, whose defenses clip it.
        spread: the standard deviation of w' in units of that of the first model's coordinates;
            an untrained model, in the paper another random initialisation.

    The instance is called with honest ``(h, d)``, f and ``model`` ``(d,)``, the global model
    w_t, and returns ``(f, d)`` equal rows, a stride-0 view. It uses no honest update: fake
    clients receive the global model and nothing else. It raises TypeError or ValueError for
    inputs of a wrong type or value.

    Source: X. Cao, N. Z. Gong, "MPAF: Model Poisoning Attacks to Federated Learning based on
    Fake Clients" (2022), equation 3, in our sign ``g = w - w_i``.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        scale: Annotated[float, Above(0)] = 1e6,
        spread: Annotated[float, AtLeast(0)] = 1.0,
    ) -> None:
        if not scale > 0 or not spread >= 0:
            raise ValueError(f"Expected scale > 0 and spread >= 0, got {scale} and {spread}.")
        self.seed, self.scale, self.spread = seed, scale, spread
        self.base: Tensor | None = None

    def __call__(self, honest: Updates, num_byzantine: int, model: Tensor | None = None) -> Tensor:
        """``(f, d)`` rows of this round; the first call sets w'."""
        check_inputs(honest, num_byzantine)
        now = check_model(honest, model, "mpaf")
        if self.base is None:
            drawn = torch.randn(len(now), generator=generator(self.seed, "mpaf")).to(now)
            self.base = self.spread * now.std(correction=0) * drawn
        return equal_rows(self.scale * (now - self.base.to(now)), num_byzantine)

    def state_dict(self) -> dict[str, Any]:
        """The base model."""
        return {"base": self.base}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.base = state["base"]


mpaf = Mpaf
