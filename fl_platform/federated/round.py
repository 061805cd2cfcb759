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
        num_honest: h, how many rows are honest.
        num_byzantine: f as the defense was told it.
        aggregate: what the defense made of the rows.
    """

    index: int
    cohort: Cohort
    updates: Updates
    num_honest: int
    num_byzantine: int
    aggregate: Aggregate

    @property
    def honest(self) -> Updates:
        """The honest rows, ``(h, d)``, as a view."""
        return self.updates.select(slice(0, self.num_honest))

    @property
    def byzantine(self) -> Tensor:
        """The Byzantine rows, ``(f_t, d)``."""
        return self.updates.matrix[self.num_honest :]
