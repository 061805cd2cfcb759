"""Drift of results from their reference: pure functions on accuracies per seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fl_platform.report.statistics import holm, summarize
from fl_platform.repro.spec import Tolerance

FEWEST = 10  # seeds per cell for a verdict without equal bits
POWER = 0.99

Verdict = Literal["same bits", "agrees", "drifted"]


@dataclass(frozen=True)
class Pair:
    """One seed in the reference and now: accuracies in percent, None if the run diverged.

    ``same``: whether the digests of the final weights are equal.
    """

    seed: int
    before: float | None
    after: float | None
    same: bool

    @property
    def equal(self) -> bool:
        """Whether weights and accuracy are equal to the bit."""
        return self.same and self.before == self.after

    @property
    def difference(self) -> float:
        """Accuracy now minus reference, in points; a diverged run counts as 0 % here only."""
        return (self.after or 0.0) - (self.before or 0.0)


@dataclass(frozen=True)
class Comparison:
    """Comparison of one cell with its reference.

    Attributes:
        cell: Name of the cell.
        n: Number of seeds; ``equal`` of them agree to the bit.
        mean: Mean difference in points; ``low`` to ``high`` is its interval, simultaneous over
            all cells of the suite. NaN if n is 1.
        p: p value adjusted for all cells; 0 if bits must be equal and differ.
        detectable: Minimal detectable change in points at power 0.99; NaN if bits decide.
    """

    cell: str
    n: int
    equal: int
    mean: float
    low: float
    high: float
    p: float
    detectable: float
    verdict: Verdict


def flag(cells: Mapping[str, Sequence[Pair]], bands: Tolerance) -> list[str]:
    """Cells whose mean difference exceeds the margin: they are run with all reference seeds.

    This is no test: with few seeds a test has low power and misses changes beyond the margin.
    Only :func:`compare` decides.
    """
    return [
        name
        for name, pairs in cells.items()
        if pairs and abs(sum(p.difference for p in pairs) / len(pairs)) > bands.margin
    ]


def compare(
    cells: Mapping[str, Sequence[Pair]], bands: Tolerance, *, exact: bool
) -> list[Comparison]:
    r"""Compare every cell with its reference.

    If ``exact`` (same code, versions, device, processor, data), one run that is not equal to the
    bit is drift. Otherwise a t test on the paired differences of each cell tests
    :math:`|\delta| \le \text{margin}` (J. L. Hodges and E. L. Lehmann, 1954), and the p values
    are adjusted for the number of cells (S. Holm, 1979):

    .. math:: t = (|\bar d| - \text{margin}) \sqrt n / s_d, \quad n - 1 \text{ degrees of freedom}

    For an unchanged population the differences of a cell are symmetric about 0, even if the pairs
    are independent. Under symmetry, heavy tails make the t test conservative (B. Efron, "Student's
    t-test under symmetry conditions", 1969), and the margin absorbs ties. A cell with fewer than
    :data:`FEWEST` seeds never has the verdict *drifted*, which can only lower the number of false
    alarms; it counts in the adjustment, and :func:`flag` selects it for more seeds.
    """
    paired = {name: pairs for name, pairs in cells.items() if pairs}
    level = bands.level / max(1, len(paired))
    adjusted = holm([_p_value(pairs, bands.margin) for pairs in paired.values()])
    found = []
    for (name, pairs), p in zip(paired.items(), adjusted, strict=True):
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
                detectable=math.nan
                if exact
                else detectable_change(differences, bands.margin, level),
                verdict="drifted" if drifted else "same bits" if whole else "agrees",
            )
        )
    return found


def detectable_change(differences: Sequence[float], margin: float, level: float) -> float:
    """Minimal detectable change in points: drift is found in 99 of 100 repetitions.

    From the noncentral t distribution, with the standard deviation of ``differences`` and
    :data:`FEWEST` seeds; NaN for a single difference.
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
