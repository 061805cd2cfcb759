"""What the paper prints: the numbers of its Tables 1 and 2, and what it leaves unknown.

Source: Yuchen Liu, Chen Chen, Lingjuan Lyu, Yaochu Jin, Gang Chen, "Exploit Gradient Skewness to
Circumvent Byzantine Defenses for Federated Learning", AAAI 2025, arXiv 2502.04890. The two csv
files beside this one are transcriptions; a value that is not printed is an empty field.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ASSUMPTION = (
    "The paper's ± is read as a sample standard deviation over n = 3 seeds: an assumption, for the"
    " paper prints neither what its ± is nor the number of seeds."
)

UNKNOWN = (
    "the number of seeds behind each value, and what the ± of Table 1 is",
    "any deviation for Table 2",
    "whether an accuracy is that of the last round, an average of the last rounds or the best",
    "the nu of Table 1 (its text says that nu = 1 suffices)",
    "the accuracy without an attack",
    "the values of Figures 4, 7 and 8 (pictures only)",
    "the bucket size of Figure 4 and the data set of Figure 8",
    "which classes make up ImageNet-12 and how FEMNIST's writers were sampled",
    "the number of neighbours and the fitted points of the LLE pictures",
)


@dataclass(frozen=True)
class Published:
    """One printed accuracy in percent; ``sd`` and ``n_assumed`` are None where not printed."""

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
    """All printed accuracies: 147 of Table 1 and 12 of Table 2."""
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
    """The printed value of a cell by its configuration names, or None where there is none."""
    return _by_cell().get((task, attack, defense, mixing))
