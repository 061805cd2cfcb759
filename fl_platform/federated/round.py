"""The data of a finished round, for observers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.federated.sampling import Cohort


@dataclass(frozen=True)
class Round:
    """One communication round; with several processes, the local coordinates of it.

    Attributes:
        index: t, from 0.
        cohort: the participants.
        updates: every received row, honest clients first.
        honest: ``(h, d)`` the honest rows; the same object that the attack received, so that its
            statistics (median, distances) are not computed again; ``None`` in a sampled round
            without honest clients.
        byzantine: ``(f_t, d)`` the Byzantine rows; a stride-0 view if all are equal, which is
            read without a copy.
        num_byzantine: the assumed f.
        aggregate: the result of the defense.
        known: number of honest updates that the attack received, if its knowledge is a number k:
            k, or all of a round that has fewer; else ``None``.
    """

    index: int
    cohort: Cohort
    updates: Updates
    honest: Updates | None
    byzantine: Tensor
    num_byzantine: int
    aggregate: Aggregate
    known: int | None = None

    @property
    def num_honest(self) -> int:
        """h, the number of honest rows."""
        return len(self.cohort.honest)
