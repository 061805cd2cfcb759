"""How a client trains between two rounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LocalTraining:
    """Settings of a client's SGD; the optimiser's state is new every round.

    Attributes:
        epochs: passes over the client's samples.
        batch: samples a step; the last batch of an epoch may be smaller.
        lr: learning rate.
        momentum: of SGD, from 0 below 1.
        weight_decay: L2 coefficient, added to the clipped gradient.
        clip: largest L2 norm of a step's gradient; ``None`` for no clipping.
    """

    epochs: int = 1
    batch: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip: float | None = 2.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or not self.lr > 0:
            raise ValueError(
                "Expected epochs >= 1, batch >= 1 and lr > 0, got"
                f" epochs={self.epochs}, batch={self.batch}, lr={self.lr}."
            )
        if not 0 <= self.momentum < 1 or self.weight_decay < 0:
            raise ValueError(
                "Expected 0 <= momentum < 1 and weight_decay >= 0, got"
                f" momentum={self.momentum}, weight_decay={self.weight_decay}."
            )
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"Expected clip > 0 or None, got {self.clip}.")
