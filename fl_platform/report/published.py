"""Published numbers of the paper's Tables 1 and 2, and what the paper does not state.

Source: Yuchen Liu, Chen Chen, Lingjuan Lyu, Yaochu Jin, Gang Chen, "Exploit Gradient Skewness to
Circumvent Byzantine Defenses for Federated Learning", AAAI 2025, arXiv 2502.04890. The two CSV
files in this folder are transcriptions; an empty field is a value that is not printed.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ASSUMPTION = (
    "Assumption: the paper's ± is a sample standard deviation over n = 3 seeds. The paper states"
    " neither the meaning of ± nor the number of seeds."
)

UNKNOWN = (
    "the number of seeds per value and the meaning of ± in Table 1",
    "the standard deviations of Table 2",
    "whether an accuracy is of the last round, the mean of the last rounds or the best round",
    "nu in Table 1 (the text says that nu = 1 suffices)",
    "the accuracy without an attack",
    "the values of Figures 4, 7 and 8 (plots only)",
    "the bucket size of Figure 4 and the data set of Figure 8",
    "the classes of ImageNet-12 and the sampling of FEMNIST's writers",
    "the number of neighbours and the fitted points of the LLE plots",
)


@dataclass(frozen=True)
class Published:
    """One published accuracy in percent; ``sd`` and ``n_assumed`` are None if not printed."""

    table: int
    task: str
    attack: str
    defense: str
    mixing: str
    mean: float
    sd: float | None
    n_assumed: int | None


@cache
def published() -> tuple[Published, ...]:
    """All published accuracies: 147 of Table 1 and 12 of Table 2."""
    values = []
    for table in (1, 2):
        path = Path(__file__).with_name(f"paper_table{table}.csv")
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                values.append(
                    Published(
                        table=table,
                        task=row["task"],
                        attack=row["attack"],
                        defense=row["defense"],
                        mixing=row["mixing"],
                        mean=float(row["mean"]),
                        sd=float(row["sd"]) if row["sd"] else None,
                        n_assumed=int(row["n_assumed"]) if row["n_assumed"] else None,
                    )
                )
    return tuple(values)


@cache
def _by_cell() -> dict[tuple[str, str, str, str], Published]:
    return {(p.task, p.attack, p.defense, p.mixing): p for p in published()}


def find(task: str, attack: str, defense: str, mixing: str = "") -> Published | None:
    """Published value of a cell by its configuration names; None if there is none."""
    return _by_cell().get((task, attack, defense, mixing))
