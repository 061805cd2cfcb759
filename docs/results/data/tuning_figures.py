"""Draw the figures and print the tables of docs/results/tuning.md from the files beside this one.

python docs/results/data/tuning_figures.py
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fl_platform.report.figures.style import BLUE, GREY, ORANGE, VERMILION
from fl_platform.report.labels import DEFENSES
from fl_platform.study.final_comparison import difference, from_json, interval

HERE = Path(__file__).parent
FIGURES = HERE.parent / "figures"
ORDER = ("multi_krum", "median", "rfa", "aksel", "centered_clipping", "dnc", "trimmed_mean")
PLAYED = ("multi_krum", "centered_clipping", "trimmed_mean")


def trials(name: str) -> list[dict[str, Any]]:
    """The complete trials of a file, parameters and seeds as values."""
    with (HERE / f"tuning_{name}.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["state"] == "COMPLETE"]
    for row in rows:
        row["params"], row["per_seed"] = json.loads(row["params"]), json.loads(row["per_seed"])
    return rows


def finals(name: str) -> dict[str, Any]:
    """What each study of a file found, by its name."""
    found: dict[str, Any] = json.loads((HERE / f"tuning_{name}_final.json").read_text())
    return found


def strength_figure() -> Figure:
    """Validation accuracy over nu, a panel for each defense, both seeds and their mean."""
    figure = Figure(figsize=(7.6, 4.0), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True, sharey=True).flat
    for axes, defense in zip(panels, ORDER, strict=False):
        study = f"strike_nu/defense={defense},task=digits"
        rows = [row for row in trials("strike_nu") if row["study"] == study]
        rows.sort(key=lambda row: row["params"]["attack.nu"])
        nu = [row["params"]["attack.nu"] for row in rows]
        for seed, style in enumerate((":", "--")):
            line = [row["per_seed"][0][seed] for row in rows]
            axes.plot(nu, line, style, color=GREY, linewidth=0.8, label=f"seed {seed}")
        means = [float(row["value"]) for row in rows]
        axes.plot(nu, means, "-o", color=BLUE, markersize=2.5, label="mean")
        best = min(range(len(means)), key=lambda i: (means[i], int(rows[i]["trial"])))
        axes.plot(nu[best], means[best], "v", color=VERMILION, markersize=7, label="best found")
        axes.axvline(1.0, color=ORANGE, linewidth=0.8, label="nu = 1")
        axes.set_title(DEFENSES[defense], fontsize=9)
        axes.set_ylim(30, 100)
        axes.grid(color="#DDDDDD", linewidth=0.4)
    handles, labels = axes.get_legend_handles_labels()
    last = list(figure.axes)[-1]
    last.axis("off")
    last.legend(handles, labels, loc="center", frameon=False, fontsize=8)
    figure.supxlabel("nu, the strength of STRIKE", fontsize=9)
    figure.supylabel("validation accuracy (%)", fontsize=9)
    return figure


def game_figure() -> Figure:
    """Test accuracy of default and tuned defense under default, first and last strength."""
    figure = Figure(figsize=(7.6, 3.0), layout="constrained")
    found = finals("worst_case")
    panels = figure.subplots(1, len(PLAYED), sharey=True).flat
    for axes, defense in zip(panels, PLAYED, strict=True):
        samples = from_json(
            found[f"worst_case/defense={defense},task=digits"]["looks"][0]["samples"]
        )
        for side, (attack, colour) in enumerate({"strike": VERMILION, "lie": BLUE}.items()):
            own = [s for s in samples if s.name.startswith((f"{attack};", f"{attack} "))]
            for place, sample in enumerate(own):
                mean, _ = interval(sample.test)
                x = place + 0.22 * side - 0.11
                axes.plot([x] * len(sample.test), sample.test, ".", color=colour, alpha=0.4)
                label = {"strike": "STRIKE", "lie": "LIE"}[attack] if not place else None
                axes.plot(x, mean, "_", color=colour, markersize=12, mew=2, label=label)
        axes.axvline(1.5, color=GREY, linewidth=0.8)
        axes.set_xticks(range(5), ["default", "tuned", "default", "tuned\nbefore", "tuned\nagain"])
        axes.tick_params(labelsize=7)
        axes.set_title(f"{DEFENSES[defense]}: default | tuned defense", fontsize=9)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.4)
    figure.axes[0].set_ylabel("test accuracy (%)", fontsize=9)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.supxlabel("the attack's strength", fontsize=9)
    return figure


def strength_table() -> None:
    """Best nu, what it does to validation and test, and what nu = 1 leaves."""
    rows = trials("strike_nu")
    for defense in ORDER:
        study = f"strike_nu/defense={defense},task=digits"
        own = [row for row in rows if row["study"] == study]
        best = min(own, key=lambda row: float(row["value"]))
        one = next(row for row in own if row["params"]["attack.nu"] == 1.0)
        default, tuned = from_json(finals("strike_nu")[study]["looks"][-1]["samples"])
        gap, width = difference(tuned, default)
        cells = [
            DEFENSES[defense],
            f"{best['params']['attack.nu']:.2f}",
            f"{float(one['value']):.1f}",
            f"{float(best['value']):.1f}",
            *(f"{m:.1f} ± {h:.1f}" for m, h in map(interval, (default.test, tuned.test))),
            f"{gap:+.1f} ± {width:.1f}",
        ]
        print("| " + " | ".join(cells) + " |")


def game_table() -> None:
    """Every attack against every defense, before and after, and the worst of each."""
    for defense in PLAYED:
        found = finals("worst_case")[f"worst_case/defense={defense},task=digits"]
        print(defense, found["position"])
        for sample in from_json(found["looks"][0]["samples"]):
            mean, half = interval(sample.test)
            print(f"| {DEFENSES[defense]} | {sample.name} | {mean:.1f} ± {half:.1f} |", end=" ")
            print(" ".join(f"{v:.1f}" for v in sample.test), "|")


def main() -> None:
    """Write both figures, print both tables."""
    FIGURES.mkdir(exist_ok=True)
    pictures: dict[str, Callable[[], Figure]] = {
        "tuning_nu": strength_figure,
        "tuning_game": game_figure,
    }
    strength_table()
    game_table()
    for name, picture in pictures.items():
        FigureCanvasAgg(picture()).print_figure(str(FIGURES / f"{name}.png"), dpi=110)


if __name__ == "__main__":
    main()
