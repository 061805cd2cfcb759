"""Tables and the figure of delay or damage, from delay-digits.csv and delay-tables.csv.

python docs/results/data/delay_tables.py     # draws the figure
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

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
SERVERS = {0.0: "SGD, 250 rounds", 0.8: "momentum 0.8, 150 rounds"}
SIDES = {"lie": "LIE", "min_max": "MinMax", "min_sum": "MinSum"}
CONTROLS = {  # by what the label of the attack contains
    "skewed_set=random": "STRIKE on random rows",
    "skewed_set=all": "STRIKE on all rows",
    "skewed_set=reversed": "STRIKE on the least skewed rows",
    "match=step, side=below": "LIE below, at STRIKE's step",
    "match=total, side=below": "LIE below, at STRIKE's distance",
    "match=step": "LIE above, at STRIKE's step",
    "match=total": "LIE above, at STRIKE's distance",
}
APART = ("strike_ablation", "lie_matched")  # attacks of the ablation alone
CALM = ("No attack", "Absent")  # rows that are no attack
DRAWN = {  # attacks of the figure, by label
    "No attack": GREY,
    "STRIKE": VERMILION,
    "LIE, above": ORANGE,
    "IPM, scale 2": BLUE,
}


class Part(NamedTuple):
    """The runs of one table: its title, setting and number of seeds."""

    title: str
    seeds: int = 3
    mixing: str = ""
    preset: str = "none"
    beta: float = 0.5
    attacks: tuple[str, ...] = ()  # none: all but the controls


LEVELS = {0.1: "0.1", 0.2: "0.2", 0.5: "0.5", 0.7: "0.7", 0.9: "0.9", np.inf: "equal shares"}
TABLES = {
    "table1": Part("Table 1", 5),
    "nu": Part("the strength nu", attacks=("none", "strike")),
    "nnm": Part("NNM", mixing="nnm"),
    "bucketing": Part("bucketing", mixing="bucketing(s=2)"),
    "ablation": Part(
        "ablation", attacks=("none", "strike", "lie", "strike_ablation", "lie_matched")
    ),
    "official": Part("preset=official", preset="official"),
    "paper": Part("preset=paper", preset="paper"),
    **{
        f"beta {name}": Part(f"Dirichlet {name}" if beta < np.inf else name, beta=beta)
        for beta, name in LEVELS.items()
        if beta != 0.5
    },
}


@functools.cache
def rows() -> pd.DataFrame:
    """All runs, with the attack as it is printed; ``at`` is the row of the stored curves."""
    parts = [pd.read_csv(HERE / f"{name}.csv", keep_default_na=False) for name in FILES]
    found = pd.concat([part.assign(at=range(len(part))) for part in parts], ignore_index=True)
    for column in ("accuracy_60", "accuracy_tail", "reached", "momentum", "nu", "beta"):
        found[column] = pd.to_numeric(found[column], errors="coerce")
    found["beta"] = found["beta"].fillna(np.inf)
    return found.assign(label=[_label(row) for row in found.itertuples()])


def _label(row: object) -> str:
    attack, told, nu = (getattr(row, name) for name in ("attack", "attack_label", "nu"))
    if attack in APART:
        return next(name for words, name in CONTROLS.items() if words in told)
    if attack == "strike" and nu != 1:
        return f"STRIKE, nu {nu:g}"
    if attack in SIDES:
        return f"{SIDES[attack]}, {'below' if 'side=below' in told else 'above'}"
    if attack == "ipm":
        return f"IPM, scale {told.partition('scale=')[2].rstrip(')')}"
    return str(ATTACKS.get(attack, attack))


@functools.cache
def part(table: str) -> pd.DataFrame:
    """The runs of a table, in the order of its lines."""
    wanted, found = TABLES[table], rows()
    order = list(ATTACKS)
    known = wanted.attacks or [name for name in order if name not in APART]
    found = found[
        found["attack"].isin(known)
        & (found["mixing"] == wanted.mixing)
        & (found["preset"] == wanted.preset)
        & (found["beta"] == wanted.beta)
        & (found["seed"] < wanted.seeds)
    ]
    if table != "nu":
        found = found[(found["attack"] != "strike") | (found["nu"] == 1)]
    keys = ["place", "nu", "label"]
    return found.assign(place=found["attack"].map(order.index)).sort_values(keys, kind="stable")


def seeds_of(
    momentum: float, label: str, defense: str, column: str, table: str = "table1"
) -> dict[int, float]:
    """A column of one cell of a table, by seed."""
    found = part(table)
    found = found[
        (found["momentum"] == momentum) & (found["label"] == label) & (found["defense"] == defense)
    ]
    return dict(zip(found["seed"], found[column], strict=True))


def _mean(values: Mapping[int, float]) -> float:
    return float(np.mean(list(values.values())))


def reference(momentum: float, table: str = "table1") -> float:
    """What the plain mean has at the end without attack and without pre-aggregation."""
    wanted = TABLES[table]
    at = table if not wanted.mixing else "table1"
    found = seeds_of(momentum, "No attack", "mean", "accuracy_tail", at)
    return _mean({seed: value for seed, value in found.items() if seed < wanted.seeds})


def labels(table: str = "table1") -> list[str]:
    """The attacks of a table as they are printed, in its order."""
    return list(dict.fromkeys(part(table)["label"]))


def defenses(table: str = "table1") -> list[str]:
    """The defenses of a table that all its attacks meet, in the order of the tables."""
    met = part(table).groupby("defense")["label"].nunique()
    return [defense for defense in DEFENSES if met.get(defense, 0) == met.max()]


def cells(momentum: float, table: str = "table1") -> list[list[str]]:
    """Accuracy at round 60, at the end, and rounds to 80 %, per cell; bold: damage."""
    goal, made = KEEP * reference(momentum, table), []
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


def _gap(momentum: float, column: str, defense: str, table: str, *pair: str) -> str:
    """The paired difference of two attacks, the first less the second."""
    first, second = (seeds_of(momentum, label, defense, column, table) for label in pair)
    d = paired_difference(first, second)
    return "" if d is None else f"{d.mean:+.1f} [{d.low:+.1f}, {d.high:+.1f}]"


def lowest(momentum: float, defense: str, table: str, without: tuple[str, ...] = ()) -> str:
    """The attack with the lowest accuracy at the end."""
    ends = {
        label: _mean(seeds_of(momentum, label, defense, "accuracy_tail", table))
        for label in labels(table)
        if label not in (*CALM, *without)
    }
    return min(ends, key=ends.__getitem__)


def strike_costs(table: str = "table1") -> list[list[str]]:
    """What STRIKE costs early, at the end, and at the end with momentum; the lowest attack."""
    made = []
    for defense in defenses(table):
        line = [str(DEFENSES[defense])]
        for momentum, column in COSTS:
            line.append(_gap(momentum, column, defense, table, "STRIKE", "No attack"))
        for momentum in SERVERS:
            label = lowest(momentum, defense, table)
            end = _mean(seeds_of(momentum, label, defense, "accuracy_tail", table))
            line.append(f"{label}: {end:.1f}")
        made.append(line)
    return made


def controls() -> list[str]:
    """The controls of the ablation, in the order of its lines."""
    return [label for label in labels("ablation") if label in CONTROLS.values()]


def control_gaps(momentum: float) -> list[list[str]]:
    """Accuracy under each control less accuracy under STRIKE, at the end."""
    return [
        [
            str(DEFENSES[defense]),
            *(
                _gap(momentum, "accuracy_tail", defense, "ablation", name, "STRIKE")
                for name in controls()
            ),
        ]
        for defense in defenses("ablation")
    ]


def control_header(momentum: float) -> list[str]:
    """Of `control_gaps`."""
    del momentum  # the controls are the same
    return ["Defense", *controls()]


def level_tables() -> dict[float, str]:
    """The tables of the levels of heterogeneity, by beta."""
    return {beta: "table1" if beta == 0.5 else f"beta {name}" for beta, name in LEVELS.items()}


def level_header(momentum: float) -> list[str]:
    """Of `level_costs` and `level_leads`."""
    del momentum  # the levels are the same
    return ["Defense", *(LEVELS[beta] for beta in level_tables())]


def level_costs(momentum: float) -> list[list[str]]:
    """STRIKE less no attack at the end, at each level of heterogeneity."""
    levels = level_tables()
    return [
        [
            str(DEFENSES[defense]),
            *(
                _gap(momentum, "accuracy_tail", defense, table, "STRIKE", "No attack")
                for table in levels.values()
            ),
        ]
        for defense in defenses(levels[0.1])
    ]


def level_leads(momentum: float) -> list[list[str]]:
    """STRIKE less the lowest other attack that all levels have, at the end."""
    levels = level_tables()
    all_have = set.intersection(*(set(labels(table)) for table in levels.values()))
    made = []
    for defense in defenses(levels[0.1]):
        line = [str(DEFENSES[defense])]
        for table in levels.values():
            apart = ("STRIKE", *(name for name in labels(table) if name not in all_have))
            rival = lowest(momentum, defense, table, apart)
            gap = _gap(momentum, "accuracy_tail", defense, table, "STRIKE", rival)
            line.append(f"{rival}: {gap}")
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
    """Cells under attack that keep 95 % early, only at the end, or never, per table and server."""
    made = []
    for table in TABLES:
        for momentum, server in SERVERS.items():
            goal = KEEP * reference(momentum, table)
            counts = {"none": 0, "delays": 0, "damages": 0}
            for label in labels(table):
                for defense in defenses(table):
                    late = seeds_of(momentum, label, defense, "accuracy_tail", table)
                    if not late or label in CALM:
                        continue
                    early = seeds_of(momentum, label, defense, "accuracy_60", table)
                    kind = "damages" if _mean(late) < goal else "delays"
                    counts["none" if _mean(early) >= goal and kind == "delays" else kind] += 1
            end = f"{reference(momentum, table):.1f}"
            made.append([TABLES[table].title, server, end, *map(str, counts.values())])
    return made


VERDICT_HEADER = ("Table", "Server", "plain mean without attack", "no effect", "delay", "damage")


def draw() -> Figure:
    """Accuracy over the rounds, a panel for each defense, mean of the seeds."""
    with np.load(HERE / "delay-digits-curves.npz") as stored:
        curves = stored["accuracy"]
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True, sharey=True).flat
    found = part("table1")
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
