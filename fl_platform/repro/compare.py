"""Whether results have drifted from their reference; pure functions on accuracies by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fl_platform.report.statistics import holm, summarize
from fl_platform.repro.spec import Bands

FEWEST = 10  # seeds behind a verdict that is not by digest
POWER = 0.99

Verdict = Literal["same bits", "agrees", "drifted"]


@dataclass(frozen=True)
class Pair:
    """One seed then and now: accuracies in percent, None where the run diverged.

    ``same`` says that the digests of the final weights are equal too.
    """

    seed: int
    before: float | None
    after: float | None
    same: bool

    @property
    def equal(self) -> bool:
        """Whether nothing differs, to the bit."""
        return self.same and self.before == self.after

    @property
    def difference(self) -> float:
        """Points now minus then. A diverged run has no accuracy; for this alone it counts as 0."""
        return (self.after or 0.0) - (self.before or 0.0)


@dataclass(frozen=True)
class Comparison:
    """What one cell came to.

    Attributes:
        cell: its name.
        n: seeds compared; ``equal`` of them to the bit.
        mean: difference in points, with the interval ``low`` to ``high`` that holds for all cells
            of the suite at once; NaN where n is 1.
        p: adjusted for all cells; 0 where bits had to be equal and are not.
        noticed: the smallest change, in points, that these differences would let through in at
            most 1 of 100; NaN where bits decide.
    """

    cell: str
    n: int
    equal: int
    mean: float
    low: float
    high: float
    p: float
    noticed: float
    verdict: Verdict


def suspects(cells: Mapping[str, Sequence[Pair]], bands: Bands) -> list[str]:
    """Cells whose mean difference leaves the margin: to be run with every reference seed.

    No test is made here, so a few seeds that scatter cannot hide a change larger than the margin
    for lack of power, and :func:`compare` alone decides.
    """
    return [
        name
        for name, pairs in cells.items()
        if pairs and abs(sum(p.difference for p in pairs) / len(pairs)) > bands.margin
    ]


def compare(cells: Mapping[str, Sequence[Pair]], bands: Bands, *, exact: bool) -> list[Comparison]:
    r"""Every cell against its reference.

    Where ``exact`` (same code, versions, device, processor, data), a single run that is not equal
    to the bit is drift. Otherwise the paired differences of each cell are put to a t test of
    :math:`|\delta| \le \text{margin}` (J. L. Hodges and E. L. Lehmann, 1954), and the p values
    adjusted for the number of cells (S. Holm, 1979):

    .. math:: t = (|\bar d| - \text{margin}) \sqrt n / s_d, \quad n - 1 \text{ degrees of freedom}

    For an unchanged population the differences of a cell are symmetric about 0, also when the
    seeds are fresh and the pairs unrelated; tails heavier than the normal's then make the t test
    more cautious (B. Efron, "Student's t-test under symmetry conditions", 1969), and the margin
    keeps ties from mattering. Cells with fewer than :data:`FEWEST` seeds are never called
    drifted: they count in the adjustment, and :func:`suspects` has the others run where they
    matter. Leaving cells out in this way can only lower the number of alarms.
    """
    judged = {name: pairs for name, pairs in cells.items() if pairs}
    level = bands.level / max(1, len(judged))
    adjusted = holm([_p_value(pairs, bands.margin) for pairs in judged.values()])
    found = []
    for (name, pairs), p in zip(judged.items(), adjusted, strict=True):
        differences = [pair.difference for pair in pairs]
        s = summarize(differences, 1 - level)
        equal = sum(pair.equal for pair in pairs)
        whole = equal == len(pairs)
        drifted = not whole if exact else p <= bands.level
        found.append(
            Comparison(
                cell=name,
                n=len(pairs),
                equal=equal,
                mean=s.mean,
                low=s.low,
                high=s.high,
                p=(1.0 if whole else 0.0) if exact else p,
                noticed=math.nan if exact else noticed(differences, bands.margin, level),
                verdict="drifted" if drifted else "same bits" if whole else "agrees",
            )
        )
    return found


def noticed(differences: Sequence[float], margin: float, level: float) -> float:
    """The change in points that would be called drift in 99 of 100 repetitions.

    From the noncentral t distribution, at the spread of these differences and :data:`FEWEST`
    seeds; NaN for a single one.
    """
    from scipy import special

    if len(differences) < 2:
        return math.nan
    freedom = FEWEST - 1
    critical = special.stdtrit(freedom, 1 - level / 2)
    shift = special.nctdtrinc(freedom, 1 - POWER, critical)
    return float(margin + shift * summarize(differences).sd / math.sqrt(FEWEST))


def _p_value(pairs: Sequence[Pair], margin: float) -> float:
    from scipy import special

    if len(pairs) < FEWEST:
        return 1.0
    s = summarize([pair.difference for pair in pairs])
    beyond = abs(s.mean) - margin
    if beyond <= 0:
        return 1.0
    if s.sd == 0:
        return 0.0
    return float(2 * special.stdtr(s.n - 1, -beyond * math.sqrt(s.n) / s.sd))
