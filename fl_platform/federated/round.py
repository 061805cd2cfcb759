"""What observers may read of a finished round."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.federated.sampling import Cohort


@dataclass(frozen=True)
class Round:
    """One communication round.

    Attributes:
        index: t, from 0.
        cohort: who took part.
        updates: every received row, honest clients first.
        honest: ``(h, d)`` the honest rows; the very object that the attack was given, so that
            what it worked out (median, distances) is not worked out again; ``None`` in a sampled
            round without honest clients.
        num_byzantine: f as the defense was told it.
        aggregate: what the defense made of the rows.
    """

    index: int
    cohort: Cohort
    updates: Updates
    honest: Updates | None
    num_byzantine: int
    aggregate: Aggregate

    @property
    def num_honest(self) -> int:
        """h, how many of the rows are honest."""
        return len(self.cohort.honest)

    @property
    def byzantine(self) -> Tensor:
        """The Byzantine rows, ``(f_t, d)``."""
        return self.updates.matrix[self.num_honest :]
