"""Terminal output of ``tune``: one line per trial, the best trials, the final comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from fl_platform.config import ConfigError
from fl_platform.config.errors import nearest
from fl_platform.core.terminal import Terminal
from fl_platform.study.final_comparison import (
    Sample,
    best_trial,
    difference,
    from_json,
    interval,
)
from fl_platform.study.storage import origin


def settings(params: Mapping[str, Any]) -> str:
    """Settings in one line, numbers to four digits: ``attack.nu=0.7312 defense.trim=3``."""
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in params.items()
    )


def print_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    """Print one line about a trial that has ended."""
    if len(study.directions) > 1:
        found = both_values(trial)
        print(f"trial {trial.number}: {settings(trial.params)} -> {found}", flush=True)
        return
    best = best_trial(study)
    text = "pruned" if trial.state == TrialState.PRUNED else f"{trial.value:.2f} %"
    against = "" if best is None else f"   best {best.value:.2f} % (trial {best.number})"
    print(f"trial {trial.number}: {settings(trial.params)} -> {text}{against}", flush=True)


def show_study(study: optuna.Study, count: int = 10) -> None:
    """Print the best trials, the number of trials per state, and the final comparisons."""
    console = Terminal()
    trials = study.get_trials(deepcopy=False)
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    if len(study.directions) > 1:
        _show_front(console, study)
        console.print(_counts(trials))
        return
    best_first = sorted(done, key=_value, reverse=study.direction.name == "MAXIMIZE")
    lines: dict[str, list[FrozenTrial]] = {}
    for trial in best_first:
        lines.setdefault(settings(trial.params), []).append(trial)
    table = Table(box=None)
    for name in ("trial", "validation", "per seed", "settings", ""):
        table.add_column(name)
    for text, alike in list(lines.items())[:count]:
        trial = alike[0]
        seeds = " ".join(f"{v:.1f}" for row in trial.user_attrs.get("values", []) for v in row)
        table.add_row(
            ",".join(str(t.number) for t in alike),
            f"{_value(trial):.2f} %",
            seeds,
            text,
            _remark(trial),
        )
    console.print(study.study_name, style="italic", soft_wrap=True)
    if done or "position" not in study.user_attrs:
        console.print(table)
        console.print(_counts(trials))
    else:
        console.print(_turns(study))
    for comparison in study.user_attrs.get("final", []):
        show_samples(from_json(comparison["samples"]))


def both_values(trial: FrozenTrial) -> str:
    """The two accuracies of a trial of a front, in percent."""
    clean, worst = trial.values
    return f"{clean:.2f} % without attack, {worst:.2f} % in the worst case"


def _show_front(console: Terminal, study: optuna.Study) -> None:
    """Print the trials of the front; they are selected on validation data."""
    from fl_platform.study.front import front

    table = Table(box=None)
    for name in ("trial", "without attack", "worst case", "settings", ""):
        table.add_column(name)
    for trial in front(study):
        clean, worst = (f"{value:.2f} %" for value in trial.values)
        table.add_row(str(trial.number), clean, worst, settings(trial.params), _remark(trial))
    console.print(study.study_name, style="italic", soft_wrap=True)
    console.print("front, on validation samples; run a point with other seeds before you report it")
    console.print(table)


def show_samples(samples: Sequence[Sample]) -> None:
    """Print the test accuracies on fresh seeds and each point's difference from the first."""
    seeds = f"seeds {samples[0].seeds[0]}-{samples[0].seeds[-1]}"
    table = Table(title=f"test set, {seeds}", title_justify="left", box=None)
    table.add_column("", overflow="fold")
    table.add_column("test", no_wrap=True)
    table.add_column("per seed", overflow="fold")
    table.add_column("difference", no_wrap=True)
    for sample in samples:
        mean, half = interval(sample.test)
        gap, width = difference(sample, samples[0])
        table.add_row(
            sample.name,
            f"{mean:.2f} ± {half:.2f} %",
            " ".join(f"{value:.1f}" for value in sample.test),
            "" if sample is samples[0] else f"{gap:+.2f} ± {width:.2f}",
        )
    console = Terminal()
    console.print(table)
    console.print("±: half-width of the 95 % interval over seeds; differences are paired by seed.")


def find_study(storage: optuna.storages.BaseStorage, name: str) -> optuna.Study:
    """Load the study ``name``, or the only one whose name begins with it.

    Raises:
        ConfigError: no study or several studies match.
    """
    names = optuna.get_all_study_names(storage)
    found = [name] if name in names else [known for known in names if known.startswith(name)]
    if len(found) > 1:  # without the studies of a minimax study's turns
        found = [it for it in found if not any(it.startswith(f"{other}/") for other in found)]
    if len(found) != 1:
        if found:
            raise ConfigError(f"--show: several studies begin with {name!r}: {', '.join(found)}.")
        has = f" There are: {', '.join(names)}." if names else " There is none yet."
        raise ConfigError(f"--show: there is no study {name!r}{nearest(name, names)}{has}")
    return optuna.load_study(study_name=found[0], storage=storage)


def _turns(study: optuna.Study) -> Table:
    """Value and settings of each turn of a minimax study."""
    position = study.user_attrs["position"]
    table = Table(box=None)
    for name in ("turn", "validation", "settings"):
        table.add_column(name)
    turns = {attack: iter(found) for attack, found in position["strengths"].items()}
    for turn, value in position["values"].items():
        attack = turn.partition("/")[2]
        found = next(turns[attack]) if attack in turns else position["defense"]
        table.add_row(turn, f"{value:.2f} %", settings(found))
    return table


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _remark(trial: FrozenTrial) -> str:
    share = trial.user_attrs.get("weight_share")
    words = [] if share is None else [f"{share:.2f} × fair weight"]
    if any(v > 0 for v in trial.constraints.values()):
        words.append("violates the weight constraint")
    if origin(trial) != trial.number:
        words.append(f"retry of {origin(trial)}")
    return ", ".join(words)


def _counts(trials: Sequence[FrozenTrial]) -> str:
    counts = {state: sum(t.state == state for t in trials) for state in TrialState}
    return ", ".join(f"{n} {state.name.lower()}" for state, n in counts.items() if n) or "no trials"
