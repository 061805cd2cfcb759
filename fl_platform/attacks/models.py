"""The check of the global model that attacks over many rounds receive."""

from __future__ import annotations

from torch import Tensor

from fl_platform.core.updates import Updates


def check_model(honest: Updates, model: Tensor | None, name: str) -> Tensor:
    """The global model ``(d,)`` at the start of the round, on the device of the rows.

    Raises:
        ValueError: no model, or a model of another dimension.
    """
    if model is None or model.shape != (honest.dimension,):
        got = "none" if model is None else f"shape {tuple(model.shape)}"
        raise ValueError(
            f"Expected a model of shape ({honest.dimension},) for {name}, the global model at the"
            f" start of the round, got {got}; pass model=."
        )
    return model.detach().to(device=honest.device, dtype=honest.dtype)
