"""Why an implementation differs from ours: at whose door it lies, in one or two sentences."""

from __future__ import annotations

FIRST = (
    "Both are right: of rows with equal scores theirs takes the first, ours the one whose distances"
    " to all others sum to least."
)
SUBSETS = (
    "Both are right: of subsets with equal diameter theirs takes the first in lexicographic order,"
    " ours the one with the least sum of squared distances."
)
NEAREST = (
    "Both are right: of two values equally near to the median ours keeps the lower one, theirs"
    " whichever its partial sort puts first."
)

WHY: dict[tuple[str, str], str] = {
    ("byzfl", "Krum"): FIRST,
    ("byzfl", "MDA"): SUBSETS,
    ("byzfl", "Meamed"): NEAREST,
    ("byzfl", "GeometricMedian"): (
        "A choice: a distance counts as at least nu = 0.1 in theirs, as at least 0.1 times a"
        " typical distance of the rows in ours. They differ where a row is that near to the answer."
    ),
    ("byzfl", "CAF"): (
        "Theirs: one power step from a vector drawn without a seed stands for the top eigenvector,"
        " so that two calls with one input differ. With f = 0 nothing is answered. On the input"
        " `far`, rows of size 1e6, the loop does not end."
    ),
    ("byzfl", "SMEA"): (
        "Theirs: one power step from a vector drawn without a seed stands for the top eigenvalue,"
        " so that two calls with one input may choose two subsets."
    ),
    ("byzpy", "Krum"): FIRST,
    ("byzpy", "MinimumDiameterAveraging"): SUBSETS,
    ("byzpy", "MeanOfMedians"): NEAREST,
    ("byzpy", "CAF"): (
        "Theirs: three power steps (a setting) stand for the top eigenvector. On the input `far`,"
        " rows of size 1e6, the loop does not end: a far row that has lost its weight keeps the"
        " others from losing theirs."
    ),
    ("krum", "Krum"): FIRST,
    ("krum", "Brute"): SUBSETS,
    ("krum", "Bulyan"): FIRST,
    ("flwr", "Krum"): FIRST,
    ("flwr", "Bulyan"): (
        FIRST + " It shows on random rows too: towards the end of the selection one neighbour is"
        " left to sum, and two rows that are each other's nearest have equal scores."
    ),
}
