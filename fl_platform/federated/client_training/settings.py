"""Settings of a client's training in a round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fl_platform.core.schedules import Schedule

Walk = Literal["fresh", "cycling"]


@dataclass(frozen=True)
class LocalTraining:
    """Settings of a client's SGD; the optimizer's state is new in every round.

    Attributes:
        epochs: passes over the client's samples; not used if ``steps`` is set.
        batch: samples per step; the last batch of a pass may be smaller.
        lr: learning rate.
        momentum: momentum of SGD, from 0 to below 1.
        weight_decay: L2 coefficient, added to the clipped gradient.
        clip: largest L2 norm of a step's gradient; ``None`` for no clipping.
        steps: batches per round instead of epochs; ``None`` for epochs.
        walk: ``"fresh"``: every round starts a new pass; ``"cycling"``: it continues at the end of
            the last round, which requires ``steps``.
        drop_last: leave out the last batch of a pass if it is smaller; a client with fewer
            samples than one batch keeps its only batch.
        crop: pixels by which images are padded and cut back at a random place; 0 for none.
        flip: mirror images left to right at random.
        schedule: factor of ``lr`` in each round; ``None`` for 1.
    """

    epochs: int = 1
    batch: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip: float | None = 2.0
    steps: int | None = None
    walk: Walk = "fresh"
    drop_last: bool = False
    crop: int = 0
    flip: bool = False
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or not self.lr > 0:
            raise ValueError(
                "Expected epochs >= 1, batch >= 1 and lr > 0, got"
                f" epochs={self.epochs}, batch={self.batch}, lr={self.lr}."
            )
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"Expected steps >= 1 or None for epochs, got {self.steps}.")
        if self.walk not in ("fresh", "cycling"):
            raise ValueError(f"Expected walk fresh or cycling, got {self.walk!r}.")
        if self.walk == "cycling" and self.steps is None:
            raise ValueError("Expected steps for walk=cycling, got None: an epoch is a whole pass.")
        if self.crop < 0:
            raise ValueError(f"Expected crop >= 0, got {self.crop}.")
        if not 0 <= self.momentum < 1 or self.weight_decay < 0:
            raise ValueError(
                "Expected 0 <= momentum < 1 and weight_decay >= 0, got"
                f" momentum={self.momentum}, weight_decay={self.weight_decay}."
            )
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"Expected clip > 0 or None, got {self.clip}.")

    @property
    def augments(self) -> bool:
        """True if images are changed at random."""
        return self.crop > 0 or self.flip

    def at(self, round_index: int) -> LocalTraining:
        """The settings of one round: the rate is ``lr`` times the factor of the schedule."""
        if self.schedule is None:
            return self
        settings = replace(self, schedule=None)
        # Without the checks: a schedule may end at a rate of zero.
        object.__setattr__(settings, "lr", self.lr * self.schedule(round_index))
        return settings
