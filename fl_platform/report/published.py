"""Published numbers: STRIKE's Tables 1 and 2, and the values beside any restated paper.

Source of the tables: Yuchen Liu, Chen Chen, Lingjuan Lyu, Yaochu Jin, Gang Chen, "Exploit Gradient
Skewness to Circumvent Byzantine Defenses for Federated Learning", AAAI 2025, arXiv 2502.04890. The
two CSV files in this folder are transcriptions; an empty field is a value that is not printed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fl_platform.core.outside import OutsideError, read_file

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


OWN = ("seed", "every", "curve", "mean", "sd", "n")  # columns that are no setting


@dataclass(frozen=True)
class PublishedCell:
    """Published accuracies in percent of one cell of a restated paper.

    Attributes:
        overrides: settings that choose the cell within its experiment: ``attack=mimic``.
        curves: seed -> test accuracies, one after each ``every`` rounds; empty where the paper has
            the mean alone.
        every: rounds between two points of a curve.
        tail: points of the mean that stands for a run, as in the restated experiment.
        printed: mean, standard deviation (NaN: not printed) and number of seeds, without curves.
    """

    overrides: tuple[str, ...]
    curves: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    every: int = 1
    tail: int = 1
    printed: tuple[float, float, int] = (math.nan, math.nan, 0)

    def values(self, accuracy: str) -> list[float]:
        """One accuracy per seed: ``last``, mean of the ``tail`` or ``best``; empty if printed."""
        curves = [self.curves[seed] for seed in sorted(self.curves)]
        if accuracy == "best":
            return [max(curve) for curve in curves]
        points = 1 if accuracy == "last" else self.tail
        return [sum(curve[-points:]) / len(curve[-points:]) for curve in curves]


@dataclass(frozen=True)
class Restated:
    """A restated paper: what a report prints beside our runs.

    Attributes:
        source: authors, title and year.
        origin: where the values were read.
        unknown: what the paper leaves open or where we differ, one sentence each.
        cells: configuration hash of a run -> published values of its cell.
    """

    source: str
    origin: str = ""
    unknown: tuple[str, ...] = ()
    cells: Mapping[str, PublishedCell] = field(default_factory=dict)


def read_published(path: Path) -> tuple[PublishedCell, ...]:
    """The published cells in a CSV file beside an experiment.

    Each column outside `OWN` is a setting, and an empty field leaves it out. A row has a ``seed``
    and its ``curve`` (numbers with spaces between, one after each ``every`` rounds), or ``mean``,
    ``sd`` (may be empty) and ``n``.

    Raises:
        OutsideError: a field is missing or is no number in range, or a row occurs twice; the
            message names file and line.
    """
    curves: dict[tuple[str, ...], dict[int, tuple[float, ...]]] = {}
    cells: dict[tuple[str, ...], PublishedCell] = {}
    text = read_file(path, "reference", follow=True).decode()
    for line, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        settings = {k: v for k, v in row.items() if k not in OWN and v}
        key = tuple(f"{name}={value}" for name, value in settings.items())
        try:
            if row.get("curve"):
                seeds = curves.setdefault(key, {})
                _once(int(row["seed"]) not in seeds and (key not in cells or bool(seeds)))
                seeds[int(row["seed"])] = tuple(_percent(v) for v in row["curve"].split())
                cells[key] = PublishedCell(key, seeds, every=int(row["every"]))
            else:
                _once(key not in cells)
                sd = float(row["sd"]) if row["sd"] else math.nan
                cells[key] = PublishedCell(key, printed=(_percent(row["mean"]), sd, int(row["n"])))
        except (KeyError, TypeError, ValueError) as error:
            told = f"{path}: line {line}: expected seed, every and curve, or mean, sd and n"
            raise OutsideError(f"{told}, got: {error}.") from None
    return tuple(cells.values())


def _percent(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:
        raise ValueError(f"{text}, which is no accuracy in percent")
    return value


def _once(new: bool) -> None:
    if not new:
        raise ValueError("a cell or seed twice")
