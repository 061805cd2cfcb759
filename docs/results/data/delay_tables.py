"""Tables and the figure of delay or damage, from delay-digits.csv and delay-tables.csv.

python docs/results/data/delay_tables.py     # draws the figure
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fl_platform.report.figures.style import BLUE, GREY, ORANGE, VERMILION
from fl_platform.report.labels import ATTACKS, DEFENSES
from fl_platform.report.statistics import paired_difference

HERE = Path(__file__).parent
FIGURE = HERE.parent / "figures" / "delay-digits.png"
KEEP = 0.95  # of the plain mean without attack at the end: less is damage
FILES = ("delay-digits", "delay-tables")
SEEDS = {"table1": 5, "nu": 3}  # of each cell of a table
SIDES = {"lie": "LIE", "min_max": "MinMax", "min_sum": "MinSum"}
DRAWN = {  # attacks of the figure, by label
    "No attack": GREY,
    "STRIKE": VERMILION,
    "LIE, above": ORANGE,
    "IPM, scale 2": BLUE,
}


@functools.cache
def rows() -> pd.DataFrame:
    """All runs, with the attack as it is printed; ``at`` is the row of the stored curves."""
    parts = [pd.read_csv(HERE / f"{name}.csv", keep_default_na=False) for name in FILES]
    found = pd.concat([part.assign(at=range(len(part))) for part in parts], ignore_index=True)
    for column in ("accuracy_60", "accuracy_tail", "reached", "momentum", "nu"):
        found[column] = pd.to_numeric(found[column], errors="coerce")
    return found.assign(label=[_label(row) for row in found.itertuples()])


def _label(row: object) -> str:
    attack, told, nu = (getattr(row, name) for name in ("attack", "attack_label", "nu"))
    if attack == "strike" and nu != 1:
        return f"STRIKE, nu {nu:g}"
    if attack in SIDES:
        return f"{SIDES[attack]}, {'below' if 'side=below' in told else 'above'}"
    if attack == "ipm":
        return f"IPM, scale {told.partition('scale=')[2].rstrip(')')}"
    return str(ATTACKS.get(attack, attack))


def seeds_of(
    momentum: float, label: str, defense: str, column: str, table: str = "table1"
) -> dict[int, float]:
    """A column of one cell of a table, by seed."""
    found = rows()
    found = found[
        (found["momentum"] == momentum)
        & (found["label"] == label)
        & (found["defense"] == defense)
        & (found["seed"] < SEEDS[table])
    ]
    return dict(zip(found["seed"], found[column], strict=True))


def _mean(values: dict[int, float]) -> float:
    return float(np.mean(list(values.values())))


def reference(momentum: float) -> float:
    """What the plain mean has at the end without attack."""
    return _mean(seeds_of(momentum, "No attack", "mean", "accuracy_tail"))


def labels(table: str = "table1") -> list[str]:
    """The attacks of a table as they are printed, in its order."""
    found = rows()
    if table == "nu":
        nus = sorted(set(found.loc[found["attack"] == "strike", "nu"]))
        return ["No attack", *("STRIKE" if nu == 1 else f"STRIKE, nu {nu:g}" for nu in nus)]
    found = found[(found["attack"] != "strike") | (found["nu"] == 1)].drop_duplicates("label")
    order = [*ATTACKS, *SIDES, "ipm"]
    keys = {row.label: (order.index(row.attack), row.label) for row in found.itertuples()}
    return sorted(keys, key=keys.__getitem__)


def defenses(table: str = "table1") -> list[str]:
    """The defenses of a table, in the order of the tables."""
    there = set(rows().loc[rows()["label"] == labels(table)[1], "defense"])
    return [defense for defense in DEFENSES if defense in there]


def cells(momentum: float, table: str = "table1") -> list[list[str]]:
    """Accuracy at round 60, at the end, and rounds to 80 %, per cell; bold: damage."""
    goal, made = KEEP * reference(momentum), []
    for label in labels(table):
        line = [label]
        for defense in defenses(table):
            early, late, reached = (
                seeds_of(momentum, label, defense, column, table)
                for column in ("accuracy_60", "accuracy_tail", "reached")
            )
            if not late:
                line.append("")
                continue
            text = f"{_mean(early):.0f} → {_mean(late):.1f}"
            known = [value for value in reached.values() if value == value]
            when = f"{np.median(known):.0f}" if 2 * len(known) > len(reached) else "never"
            line.append((f"**{text}**" if _mean(late) < goal else text) + f" ({when})")
        made.append(line)
    return made


def header(momentum: float, table: str = "table1") -> list[str]:
    """Of `cells`."""
    del momentum  # the defenses are the same
    return ["Attack", *(str(DEFENSES[defense]) for defense in defenses(table))]


def strike_costs() -> list[list[str]]:
    """What STRIKE costs early, at the end, and at the end with momentum; the lowest attack."""
    made = []
    for defense in defenses():
        line = [str(DEFENSES[defense])]
        for momentum, column in COSTS:
            calm = seeds_of(momentum, "No attack", defense, column)
            hit = seeds_of(momentum, "STRIKE", defense, column)
            d = paired_difference(hit, calm)
            line.append("" if d is None else f"{d.mean:+.1f} [{d.low:+.1f}, {d.high:+.1f}]")
        for momentum in (0.0, 0.8):
            ends = {
                label: _mean(seeds_of(momentum, label, defense, "accuracy_tail"))
                for label in labels()
                if label not in ("No attack", "Absent")
            }
            lowest = min(ends, key=ends.__getitem__)
            line.append(f"{lowest}: {ends[lowest]:.1f}")
        made.append(line)
    return made


COSTS = ((0.0, "accuracy_60"), (0.0, "accuracy_tail"), (0.8, "accuracy_tail"))
STRIKE_HEADER = (
    "Defense",
    "STRIKE at round 60 [95 %]",
    "at round 250 [95 %]",
    "with momentum, round 150 [95 %]",
    "lowest at round 250",
    "lowest with momentum",
)


def verdicts() -> list[list[str]]:
    """How many cells under attack keep 95 % early, only at the end, or never, per server."""
    made = []
    for momentum, name in ((0.0, "SGD, 250 rounds"), (0.8, "momentum 0.8, 150 rounds")):
        goal = KEEP * reference(momentum)
        counts = {"none": 0, "delays": 0, "damages": 0}
        for label in labels():
            for defense in defenses():
                late = seeds_of(momentum, label, defense, "accuracy_tail")
                if not late or label in ("No attack", "Absent"):
                    continue
                early = seeds_of(momentum, label, defense, "accuracy_60")
                kind = "damages" if _mean(late) < goal else "delays"
                counts["none" if _mean(early) >= goal and kind == "delays" else kind] += 1
        made.append([name, f"{reference(momentum):.1f}", *map(str, counts.values())])
    return made


VERDICT_HEADER = ("Server", "plain mean without attack", "no effect", "delay", "damage")


def draw() -> Figure:
    """Accuracy over the rounds, a panel for each defense, mean of the seeds."""
    with np.load(HERE / "delay-digits-curves.npz") as stored:
        curves = stored["accuracy"]
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True, sharey=True).flat
    found = rows()
    for axes, defense in zip(panels, defenses(), strict=True):
        for label, color in DRAWN.items():
            chosen = found[(found["defense"] == defense) & (found["label"] == label)]
            for momentum, style in ((0.0, "-"), (0.8, ":")):
                own = 100 * curves[chosen["at"][chosen["momentum"] == momentum]]
                line = own[:, : 250 if momentum == 0 else 150].mean(axis=0)
                smooth = np.convolve(line, np.ones(5) / 5, "valid")
                axes.plot(
                    range(5, 5 + len(smooth)), smooth, style, color=color, linewidth=1.0,
                    label=label if momentum == 0 else None,
                )  # fmt: skip
        axes.axvline(60, color=GREY, linewidth=0.5)
        axes.set_title(DEFENSES[defense], fontsize=9)
        axes.set_ylim(0, 100)
        axes.tick_params(labelsize=7)
    figure.supxlabel("round (dotted: server momentum 0.8; grey line: round 60)", fontsize=8)
    figure.supylabel("test accuracy in percent", fontsize=8)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=8)
    return figure


if __name__ == "__main__":
    picture = draw()
    FigureCanvasAgg(picture)
    picture.savefig(FIGURE, dpi=160, metadata={"Software": None})
