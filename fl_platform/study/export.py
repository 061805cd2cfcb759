"""A study's pictures, by Optuna's matplotlib functions, as files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import optuna
import yaml
from optuna.trial import TrialState

from fl_platform.config.hydra_internals import GROUPS
from fl_platform.config.hydra_tree import parse_overrides


def plot_study(study: optuna.Study, folder: Path, objective: str) -> list[Path]:
    """Write history, slices, importance, contour and, under a constraint, the trade-off.

    What cannot be drawn yet is left out: importance and contour want more than one parameter,
    everything wants two complete trials that differ.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in done}) < 2:
        return []
    matplotlib.use("Agg")  # files only: a worker has no screen
    from optuna.visualization import matplotlib as draw

    pictures: dict[str, Callable[[], Any]] = {
        "history": lambda: draw.plot_optimization_history(study, target_name=objective),
        "slice": lambda: draw.plot_slice(study, target_name=objective),
    }
    if len({name for trial in done for name in trial.params}) > 1:
        pictures["importance"] = lambda: draw.plot_param_importances(study, target_name=objective)
        pictures["contour"] = lambda: draw.plot_contour(study, target_name=objective)
    if any("weight_share" in trial.user_attrs for trial in done):
        pictures["pareto"] = lambda: draw.plot_pareto_front(
            study,
            targets=lambda t: (t.values[0], t.user_attrs["weight_share"]),
            target_names=[objective, "weight over fair share"],
        )
    return [path for name, picture in pictures.items() if (path := _write(picture, folder / name))]


def _write(picture: Callable[[], Any], stem: Path) -> Path | None:
    from matplotlib import pyplot

    path = stem.with_suffix(".png")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            axes = picture()
            first = axes.flat[0] if hasattr(axes, "flat") else axes
            first.figure.savefig(path, dpi=100, bbox_inches="tight")
    except (ValueError, RuntimeError):
        return None  # too few trials, or too alike, for this picture
    finally:
        pyplot.close("all")
    return path


def override_file(overrides: Sequence[str], told: str) -> str:
    """An experiment file with the settings of ``overrides``; ``told`` is its second line.

    A later override of a key wins over an earlier one, as on the command line.
    """
    choices: dict[str, Any] = {}
    tree: dict[str, Any] = {}
    for override in parse_overrides(overrides):
        key, value = override.key_or_group, override.value()
        if key in GROUPS:
            choices[key] = value
        elif key.partition(".")[0] != "runtime":
            node = tree
            *parents, last = key.split(".")
            for name in parents:
                node = node.setdefault(name, {})
            node[last] = value
    defaults = [{f"override /{group}": choice} for group, choice in choices.items()]
    whole = {"defaults": defaults, **tree} if defaults else tree
    return f"# @package _global_\n# {told}\n" + yaml.safe_dump(whole, sort_keys=False)
