"""What observers may read of a finished round."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.federated.sampling import Cohort


@dataclass(frozen=True)
class Round:
    """One communication round; in each of several processes, that process's coordinates of it.

    Attributes:
        index: t, from 0.
        cohort: who took part.
        updates: every received row, honest clients first.
        honest: ``(h, d)`` the honest rows; the very object that the attack was given, so that
            what it worked out (median, distances) is not worked out again; ``None`` in a sampled
            round without honest clients.
        byzantine: ``(f_t, d)`` what the Byzantine clients sent; a stride-0 view where all sent
            the same, so that reading it copies nothing.
        num_byzantine: f as the defense was told it.
        aggregate: what the defense made of the rows.
        known: how many honest updates the attack was shown, where its knowledge is a number k:
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
        """h, how many of the rows are honest."""
        return len(self.cohort.honest)
