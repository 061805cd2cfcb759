"""ROP: a perturbation at an angle to the last step of the model, relocated towards it."""

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


@rule(label="ROP", shardable="keeps one direction over all coordinates")
class Rop:
    """The relocated orthogonal perturbation, designed against centered clipping.

    .. math::
        g_b &= \\pi\\,v + (1 - \\pi)\\,\\bar g + z\\,
        \\frac{p}{\\lVert p\\rVert},\\quad
        u = \\lambda\\,v + (1 - \\lambda)\\,\\bar g \\\\
        p &= \\sin\\theta\\,\\frac{1 - u\\,\\langle 1, u\\rangle / \\lVert u\\rVert^2}
        {\\lVert\\cdot\\rVert} + \\cos\\theta\\,\\frac{u}{\\lVert u\\rVert}

    v is the model's last step w_{t-1} - w_t, which is the last aggregate if the server applies it
    unchanged; in the first round v is 0 in g_b, and u is the honest mean.

    Args:
        seed: not used; the attack draws nothing.
        z: length of the perturbation; used where ``z_from`` is ``fixed``.
        z_from: ``fixed``, or ``baruch``: LIE's z from n and f (FL-Byzantine-Library).
        pi: weight of v in the location of the attack, 0 (honest mean) to 1 (v).
        lamb: weight of v in u, the direction from which the angle is measured, 0 to 1.
        angle: theta in degrees; 90 is orthogonal to u, 180 against it.

    The instance is called with honest ``(h, d)``, f and ``model`` ``(d,)``, the global model
    w_t, and returns ``(f, d)`` equal rows, a stride-0 view; it raises TypeError or ValueError for
    inputs of a wrong type or value. Where u is zero there is no perturbation; where u is parallel
    to the vector of ones the perturbation is parallel to u.

    Source: K. Ozfatura, E. Ozfatura, A. Kupcu, D. Gunduz, "Byzantines Can Also Learn From
    History: Fall of Centered Clipping in Federated Learning" (2024), as in the code of
    FL-Byzantine-Library.
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
        """``(f, d)`` rows of this round; keeps the model for the next call."""
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
        """The model of the last round."""
        return {"model": self.model}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.model = state["model"]


def unit(vector: Tensor) -> Tensor:
    """The vector scaled to length 1; zeros for a vector of zeros."""
    length = vector.norm()
    return vector / length if length > 0 else torch.zeros_like(vector)


rop = Rop
