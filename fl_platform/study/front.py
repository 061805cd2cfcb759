"""Front of a study with two objectives: accuracy without attack against worst-case accuracy.

A trial is on the front if no other trial is at least as good in both and better in one (Pareto).
Both values are means over seeds on validation samples; no test data is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fl_platform.report.formats import csv_text
from fl_platform.study.export import override_file, plot_importances
from fl_platform.study.printing import both_values
from fl_platform.study.problem import FRONT_LABELS, Problem
from fl_platform.study.spec import as_overrides
from fl_platform.tracking.atomic import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("without_attack", "worst_case")


def front(study: optuna.Study) -> list[FrozenTrial]:
    """Trials on the front, the highest accuracy without attack first; of equal ones the first."""
    distinct: dict[tuple[float, ...], FrozenTrial] = {}
    for trial in sorted(study.best_trials, key=lambda trial: trial.number):
        distinct.setdefault(tuple(trial.values), trial)
    return sorted(distinct.values(), key=lambda trial: -trial.values[0])


def write_front(study: optuna.Study, problem: Problem, folder: Path) -> list[Path]:
    """Write ``front.csv``, the figure and the two ends of the front as experiment files."""
    best = front(study)
    table = folder / "front.csv"
    write_atomic(table, front_table(study, problem).encode())
    files = [table, *plot_front(study, folder / "front")]
    for index, (end, name) in enumerate(zip((best[0], best[-1]), NAMES, strict=True)):
        comment = f"{problem.name}, trial {end.number}: {both_values(end)}, on validation samples"
        file = folder / f"best-{name.replace('_', '-')}.yaml"
        settings = [*problem.base, *as_overrides(end.params)]
        write_atomic(file, override_file(settings, comment).encode())
        drawn = plot_importances(study, folder / f"importance-{name}", FRONT_LABELS[index], index)
        files += [file, *drawn]
    return files


def front_table(study: optuna.Study, problem: Problem) -> str:
    """All complete trials as CSV, the best without attack first.

    Columns: trial, whether it is on the front, both objectives, the accuracy under each attack
    (percent, mean over seeds, validation samples), and the settings as overrides.
    """
    best = {trial.number for trial in front(study)}
    attacks = [" ".join(opponent) for opponent in problem.opponents[1:]]
    names = ["trial", "on_front", *NAMES, *attacks, "settings"]
    rows = []
    for trial in sorted(_done(study), key=lambda trial: (-trial.values[0], trial.number)):
        means = [math.fsum(seeds) / len(seeds) for seeds in trial.user_attrs["values"][1:]]
        accuracies = [f"{value:.4f}" for value in (*trial.values, *means)]
        settings = " ".join(as_overrides(trial.params))
        on_front = str(trial.number in best).lower()
        row = [trial.number, on_front, *accuracies, settings]
        rows.append(dict(zip(names, row, strict=True)))
    return csv_text(rows)


def plot_front(study: optuna.Study, stem: Path) -> list[Path]:
    """Draw all trials and the front as ``stem.png`` and ``stem.pdf``."""
    from fl_platform.report.figures.style import save

    return save(front_figure(study), stem)


def front_figure(study: optuna.Study) -> Figure:
    """Scatter of all trials with the front as a staircase: what lies below it is dominated."""
    from matplotlib.figure import Figure

    from fl_platform.report.figures.layout import Page, legend_below, put_title, settle
    from fl_platform.report.figures.style import BLUE, GREY, VERMILION, styled

    page, best = Page(width=4.5), front(study)
    numbers = {trial.number for trial in best}
    others = [trial for trial in _done(study) if trial.number not in numbers]
    started = [trial for trial in _done(study) if "fixed_params" in trial.system_attrs]
    with styled(page):
        figure = Figure(figsize=(page.width, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(*_points(others), "o", color=GREY, markerfacecolor="none", label="dominated")
        line: dict[str, Any] = {
            "color": VERMILION,
            "marker": "o",
            "drawstyle": "steps-pre",
            "zorder": 3,
        }
        axes.plot(*_points(best[::-1]), **line, label="front")
        ring: dict[str, Any] = {"color": BLUE, "markerfacecolor": "none", "markersize": 8}
        axes.plot(*_points(started), "s", **ring, label="start point")
        axes.set_xlabel(FRONT_LABELS[0])
        axes.set_ylabel(FRONT_LABELS[1])
        legend_below(figure, page)
        put_title(figure, study.study_name, page)
        settle(figure, axes, 2.6)
    return figure


def _points(trials: Sequence[FrozenTrial]) -> tuple[list[float], list[float]]:
    return [trial.values[0] for trial in trials], [trial.values[1] for trial in trials]


def _done(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
