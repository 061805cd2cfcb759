"""Files of a study: Optuna's plots and the best settings as an experiment file."""

from __future__ import annotations

import io
import os
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
from fl_platform.core.outside import open_file
from fl_platform.tracking.atomic import write_atomic


def plot_study(study: optuna.Study, folder: Path, objective: str) -> list[Path]:
    """Plot history, slices, importance, contour and, under a constraint, the Pareto front.

    All plots require two complete trials with different values; importance and contour require
    two parameters. Plots that cannot be drawn are left out.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in done}) < 2:
        return []
    matplotlib.use("Agg")  # a worker has no display
    from optuna.visualization import matplotlib as draw

    pictures: dict[str, Callable[[], Any]] = {
        "history": lambda: draw.plot_optimization_history(study, target_name=objective),
        "slice": lambda: draw.plot_slice(study, target_name=objective),
    }
    if len({name for trial in done for name in trial.params}) > 1:
        pictures["contour"] = lambda: draw.plot_contour(study, target_name=objective)
    if any("weight_share" in trial.user_attrs for trial in done):
        pictures["pareto"] = lambda: draw.plot_pareto_front(
            study,
            targets=lambda t: (t.values[0], t.user_attrs["weight_share"]),
            target_names=[objective, "weight over fair share"],
        )
    drawn = [_write(picture, folder / name) for name, picture in pictures.items()]
    others = plot_importances(study, folder / "importance", objective)
    return [path for path in drawn if path] + others


def plot_importances(study: optuna.Study, stem: Path, objective: str, index: int = 0) -> list[Path]:
    """Plot the importance of each parameter for value number ``index`` of a trial.

    Returns:
        The file; none for one parameter or too few different trials.
    """
    matplotlib.use("Agg")
    from optuna.visualization import matplotlib as draw

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({name for trial in done for name in trial.params}) < 2:
        return []
    if len({trial.values[index] for trial in done}) < 2:
        return []
    path = _write(
        lambda: draw.plot_param_importances(
            study, target=lambda trial: trial.values[index], target_name=objective
        ),
        stem,
    )
    return [path] if path else []


def attach(study: optuna.Study, files: Sequence[Path], folder: Path) -> None:
    """Attach ``files`` to ``study`` as Optuna artifacts in ``folder``; a name has one artifact."""
    from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = FileSystemArtifactStore(folder)
    known = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(study)}
    for file in files:
        if file.name in known:
            with os.fdopen(open_file(file, os.O_RDONLY), "rb") as content:
                store.write(known[file.name], content)
        else:
            upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=study)


def _write(picture: Callable[[], Any], stem: Path) -> Path | None:
    from matplotlib import pyplot

    path = stem.with_suffix(".png")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            axes = picture()
            first = axes.flat[0] if hasattr(axes, "flat") else axes
            drawn = io.BytesIO()
            first.figure.savefig(drawn, format="png", dpi=100, bbox_inches="tight")
            write_atomic(path, drawn.getbuffer())
    except (ValueError, RuntimeError):
        return None  # too few different trials for this plot
    finally:
        pyplot.close("all")
    return path


def override_file(overrides: Sequence[str], comment: str) -> str:
    """Text of an experiment file with ``overrides``; ``comment`` is its second line.

    A later override of a key replaces an earlier one, as on the command line.
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
    return f"# @package _global_\n# {comment}\n" + yaml.safe_dump(whole, sort_keys=False)
