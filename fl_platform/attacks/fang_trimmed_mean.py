"""Fang's attack on trimmed mean and median: values just beyond the honest ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import Above
from fl_platform.core.rng import generator
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(
    label="Fang, RBTM",
    shardable=lambda rule: (
        rule.draw == "edge" or "draws numbers for every coordinate (draw=edge does not)"
    ),
)
class FangTrimmedMean:
    """Values just beyond the honest ones, on the side opposite to the honest step of the model.

    .. math::
        (g_b)_k \\in \\begin{cases}
        [b\\,m_k,\\,m_k] \\text{ or } [m_k/b,\\,m_k] & \\bar g_k > 0,\\; m_k = \\min_i (g_i)_k \\\\
        [M_k,\\,b\\,M_k] \\text{ or } [M_k,\\,M_k/b] & \\bar g_k < 0,\\; M_k = \\max_i (g_i)_k
        \\end{cases}

    whichever interval lies beyond (b m where m < 0, m / b where m > 0, and so for M); a
    coordinate with mean 0 keeps its mean.

    Args:
        seed: of the run; the draws of call t come from stream ``fang_trimmed_mean`` at t.
        b: factor of the far end of the interval, above 1.
        draw: ``uniform`` draws every row and coordinate independently; ``edge`` takes the far
            end for all rows (FL-Byz-Lib), which needs no draws and the memory of one row.

    The instance is called with honest ``(h, d)`` and f and returns ``(f, d)``; it raises
    TypeError or ValueError for inputs of a wrong type or value.

    Source: M. Fang, X. Cao, J. Jia, N. Gong, "Local Model Poisoning Attacks to
    Byzantine-Robust Federated Learning" (2020), full knowledge, against trimmed mean and
    median, b = 2. The paper states it for models; like every implementation for federated
    learning we apply it to updates.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        b: Annotated[float, Above(1)] = 2.0,
        draw: Literal["uniform", "edge"] = "uniform",
    ) -> None:
        if draw not in ("uniform", "edge"):
            raise ValueError(f"Expected draw uniform or edge, got {draw!r}.")
        self.seed, self.b, self.draw = seed, b, draw
        self.calls = 0

    def __call__(self, honest: Updates, num_byzantine: int) -> Tensor:
        """``(f, d)`` rows of this round; each call advances the state."""
        check_inputs(honest, num_byzantine)
        call, self.calls = self.calls, self.calls + 1
        near, far = beyond(honest, self.b)
        if self.draw == "edge":
            return equal_rows(far, num_byzantine)
        stream = generator(self.seed, "fang_trimmed_mean", call)
        share = torch.rand(num_byzantine, honest.dimension, generator=stream).to(near)
        return near + share * (far - near)

    def state_dict(self) -> dict[str, Any]:
        """Number of rounds drawn so far."""
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.calls = state["calls"]


def beyond(honest: Updates, b: float) -> tuple[Tensor, Tensor]:
    """``(d,)`` near and far end of the interval beyond the honest values of each coordinate."""
    mean = honest.mean()
    low, high = torch.empty_like(mean), torch.empty_like(mean)
    for part, rows in honest.columns():
        low[part], high[part] = rows.aminmax(dim=0)
    far_low = torch.where(low > 0, low / b, low * b)
    far_high = torch.where(high > 0, high * b, high / b)
    near = torch.where(mean > 0, low, high).where(mean != 0, mean)
    far = torch.where(mean > 0, far_low, far_high).where(mean != 0, mean)
    return near, far


fang_trimmed_mean = FangTrimmedMean
