"""ROP: a perturbation at an angle to what the server remembers, placed where it remembers it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.attacks.lie import supporters_z
from fl_platform.attacks.models import check_model
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import AtLeast, Between
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="ROP", shardable="remembers a direction of all coordinates")
class Rop:
    """The relocated orthogonal perturbation, made against centered clipping.

    .. math::
        g_b &= \\pi\\,v + (1 - \\pi)\\,\\bar g + z\\,
        \\frac{p}{\\lVert p\\rVert},\\quad
        u = \\lambda\\,v + (1 - \\lambda)\\,\\bar g \\\\
        p &= \\sin\\theta\\,\\frac{1 - u\\,\\langle 1, u\\rangle / \\lVert u\\rVert^2}
        {\\lVert\\cdot\\rVert} + \\cos\\theta\\,\\frac{u}{\\lVert u\\rVert}

    v is the model's last step w_{t-1} - w_t, which is the last aggregate where the server takes
    it as it is; in the first round v is 0 for the place and the honest mean for u.

    Args:
        seed: not used; the attack draws nothing.
        z: length of the perturbation; used where ``z_from`` is ``fixed``.
        z_from: ``fixed``, or ``baruch``: LIE's z from n and f (FL-Byzantine-Library).
        pi: how far the attack is moved from the honest mean to v, 0 to 1.
        lamb: how much of v is in the direction u that the angle is measured to, 0 to 1.
        angle: theta in degrees; 90 is orthogonal to u, 180 against it.

    The instance is called with honest ``(h, d)``, f and ``model`` ``(d,)``, the global model
    w_t, and returns ``(f, d)`` equal rows, a stride-0 view; it raises TypeError or ValueError on
    inputs that are no updates, no count or no model. Where u is zero or along the vector of
    ones the perturbation is left out or lies along u alone.

    Source: K. Ozfatura, E. Ozfatura, A. Kupcu, D. Gunduz, "Byzantines Can Also Learn From
    History: Fall of Centered Clipping in Federated Learning" (2024), as FL-Byzantine-Library's
    code reads.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        z: Annotated[float, AtLeast(0)] = 1.0,
        z_from: Literal["fixed", "baruch"] = "fixed",
        pi: Annotated[float, Between(0, 1)] = 1.0,
        lamb: Annotated[float, Between(0, 1)] = 0.9,
        angle: float = 90.0,
    ) -> None:
        if z_from not in ("fixed", "baruch") or not (0 <= pi <= 1 and 0 <= lamb <= 1 and z >= 0):
            raise ValueError(
                "Expected z_from fixed or baruch, z >= 0, and pi and lamb from 0 to 1,"
                f" got {z_from!r}, {z}, {pi} and {lamb}."
            )
        self.z, self.z_from, self.pi, self.lamb, self.angle = z, z_from, pi, lamb, angle
        self.model: Tensor | None = None

    def __call__(self, honest: Updates, num_byzantine: int, model: Tensor | None = None) -> Tensor:
        """``(f, d)`` this round's rows; the next call knows this round's model."""
        check_inputs(honest, num_byzantine)
        now, mean = check_model(honest, model, "rop"), honest.mean()
        last = None if self.model is None else self.model.to(now) - now
        self.model = now.clone()
        z = self.z if self.z_from == "fixed" else supporters_z(len(honest), num_byzantine)
        return equal_rows(self._row(mean, last, z), num_byzantine)

    def _row(self, mean: Tensor, last: Tensor | None, z: float) -> Tensor:
        place = (1 - self.pi) * mean + (0.0 if last is None else self.pi * last)
        toward = mean if last is None else self.lamb * last + (1 - self.lamb) * mean
        if not toward.any():
            return place
        along = unit(toward)
        ones = torch.ones_like(along)
        across = ones - along * (ones @ along)
        angle = math.radians(self.angle)
        turned = math.sin(angle) * unit(across) + math.cos(angle) * along
        return place + z * unit(turned)

    def state_dict(self) -> dict[str, Any]:
        """The last round's model."""
        return {"model": self.model}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self.model = state["model"]


def unit(vector: Tensor) -> Tensor:
    """The vector at length 1; zeros where it has none."""
    length = vector.norm()
    return vector / length if length > 0 else torch.zeros_like(vector)


rop = Rop
