"""The story of a study: read its file, run trials, compare the best on test data."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.study import get_all_study_names

from fl_platform.config import ConfigError, target_name
from fl_platform.config.hydra_tree import parse_overrides
from fl_platform.run.early import refuse_early
from fl_platform.study.printing import find_study, settings, show_study
from fl_platform.study.problem import Problem, tuned_defense
from fl_platform.study.spec import StudySpec, load_spec
from fl_platform.study.storage import open_storage, storage_errors
from fl_platform.tracking.mlflow.store import safe_uri

if TYPE_CHECKING:
    from optuna import Study

    from fl_platform.study.objective import Objective
    from fl_platform.study.session import WorkerSession


@dataclass(frozen=True)
class StudyResult:
    """State of a study when its worker ends.

    Attributes:
        name: study name.
        complete: whether the study has all its trials.
        signal: number of the signal that stopped the worker, if any.
    """

    name: str
    complete: bool
    signal: int | None


def tune(
    file: str,
    typed: Sequence[str],
    home: Path,
    *,
    trials: int | None = None,
    timeout: float | None = None,
    storage: str | None = None,
    name: str | None = None,
    final: bool = False,
    plugins: Sequence[str] = (),
) -> StudyResult:
    """Create or resume the study of ``tuning/<file>.yaml`` and run its trials.

    Several processes may run one study. The worker of the last trial evaluates the best trial and
    the default settings with fresh seeds on test data.

    Args:
        file: name of the study file, without suffix.
        typed: overrides of the file's base.
        home: workspace: the folder of ``conf/``, ``tuning/`` and ``mlruns/``.
        trials: number of additional trials. Default: until the file's total is reached.
        timeout: seconds after which no trial is started. Default: the file's.
        storage: URL of the studies, see `storage.open_storage`. Default: ``mlruns/optuna.db``.
        name: study name. Default: file name and overrides.
        final: evaluate on test data now, although trials are missing.
        plugins: packages with further attacks, defenses and config files.

    Raises:
        ConfigError: the file or an override is invalid, or the study has other settings.
        StoreError: the storage cannot be opened.
    """
    problem = prepare(file, typed, home, name=name, plugins=plugins)
    if final and problem.spec.front:
        raise ConfigError("--final: expected a study with one objective, got a front of two.")
    studies = open_storage(home, storage)
    with storage_errors(studies, problem.name):
        if problem.name not in get_all_study_names(studies):  # to show an older one needs no data
            refuse_early(problem.config({}, problem.spec.seeds[0]), home)
    # imports Lightning; after the checks
    from fl_platform.core.process import Stopper
    from fl_platform.study.minimax import solve
    from fl_platform.study.session import WorkerSession
    from fl_platform.study.trial_loop import Limits

    wait = timeout if timeout is not None else problem.spec.budget.timeout
    limits = Limits(trials, None if wait is None else time.monotonic() + wait)
    with Stopper() as stopper:
        session = WorkerSession(home, studies, stopper, limits, _tracking(problem))
        with storage_errors(session.storage, problem.name):
            print(_heading(problem), flush=True)
            if warning := _unchosen(problem):
                print(warning, file=sys.stderr, flush=True)
            if problem.spec.game:
                complete = solve(session, problem)
            else:
                complete = _optimize(session, problem, final)
            show_study(find_study(session.storage, problem.name))
        print(session.summary())
        other = "" if storage is None else f" --storage {safe_uri(storage)}"
        print(f"all trials in a browser: fl-platform ui --studies{other}")
        return StudyResult(problem.name, complete, stopper.signal)


def show(study: str, home: Path, *, storage: str | None = None) -> None:
    """Print the best trials of a study and its final comparisons."""
    show_study(find_study(open_storage(home, storage), study))


def prepare(
    file: str,
    typed: Sequence[str],
    home: Path,
    *,
    name: str | None = None,
    plugins: Sequence[str] = (),
) -> Problem:
    """Read and check the study of ``tuning/<file>.yaml``; trains nothing.

    Raises:
        ConfigError: the file or an override is invalid.
    """
    spec = load_spec(file, home)
    problem = assemble(spec, name or study_name(file, typed), typed, home, plugins)
    problem.check()
    return problem


def study_name(file: str, typed: Sequence[str]) -> str:
    """Default study name, such as ``strike_nu/task=digits``; overrides in any order."""
    overrides = sorted(text for text in typed if not text.startswith("runtime."))
    return f"{file}/{','.join(overrides)}" if overrides else file


def assemble(
    spec: StudySpec, name: str, typed: Sequence[str], home: Path, plugins: Sequence[str]
) -> Problem:
    """Build the problem of a study; of a minimax study the part that all turns share.

    Raises:
        ConfigError: an override sets the seed or a key that the study varies, or is a sweep.
    """
    keys = {override.key_or_group for override in parse_overrides(typed)}
    varied = spec.space if spec.game is None else {k for s in spec.game.attacks.values() for k in s}
    _refuse_keys(keys & {*varied, "seed", *(["attack"] if spec.front else [])})
    base = [text for text in spec.base if text.partition("=")[0] not in keys]
    rounds = [] if spec.rounds is None or "rounds" in keys else [f"rounds={spec.rounds}"]
    progress = [] if "runtime.progress" in keys else ["runtime.progress=none"]
    opponents: tuple[tuple[str, ...], ...] = ((),)
    if spec.game:
        opponents = ((f"attack={next(iter(spec.game.attacks))}",),)
    elif spec.front:
        opponents = (("attack=none",), *(tuple(line.split()) for line in spec.front.attacks))
    problem = Problem(
        name=name,
        spec=spec,
        home=home,
        base=(*base, *rounds, *typed, *progress),
        opponents=opponents,
        space=spec.varied if spec.space else {},
        direction=spec.direction,
        trials=spec.budget.trials,
        start=tuple(spec.start),
        plugins=tuple(plugins),
    )
    if spec.front and not spec.space:
        defense = tuned_defense(problem)
        _refuse_keys(keys & set(defense.space))
        problem = replace(problem, space=defense.varied, start=tuple(defense.start))
    return problem


def _refuse_keys(keys: Collection[str]) -> None:
    for key in sorted(keys):
        raise ConfigError(f"{key}: the study file sets this key; change it there or in a copy.")


def _heading(problem: Problem) -> str:
    """Study name, and the task, attack and defense of its runs."""
    config = problem.config({}, problem.spec.seeds[0])
    attacks = problem.spec.game.attacks if problem.spec.game else [target_name(config.attack)]
    if problem.spec.front:
        attacks = [target_name(problem.config({}, 0, each).attack) for each in problem.opponents]
    defense = target_name(config.defense)
    runs = f"task {config.task.name}, attack {', '.join(attacks)}, defense {defense}"
    return f"study {problem.name}\n{runs}"


def _unchosen(problem: Problem) -> str:
    """Warning about the other side of the study if no override chooses it; empty otherwise."""
    side = "defense" if problem.direction == "minimize" else "attack"
    keys = {override.key_or_group for override in parse_overrides(problem.base)}
    if keys & {side, "experiment"} or problem.spec.game or problem.spec.front:
        return ""
    default = target_name(getattr(problem.config({}, problem.spec.seeds[0]), side))
    return f"warning: no {side} is chosen; tuning against {default}. Choose one with {side}=NAME."


def _optimize(session: WorkerSession, problem: Problem, final: bool) -> bool:
    from fl_platform.study.objective import TrialRequeued
    from fl_platform.study.session import leave

    study, objective = session.open(problem)
    complete = False
    with objective.parent as parent:
        with contextlib.suppress(TrialRequeued):
            complete = session.work(study, objective)
            wanted = (complete or final) and not problem.spec.front
            if wanted and session.stopper.signal is None:
                _compare_on_test_data(study, objective)
        session.publish(study, objective)
        leave(parent, session.stopper, complete)
    return complete and session.stopper.signal is None


def _compare_on_test_data(study: Study, objective: Objective) -> None:
    """Run the best trial and the default with fresh seeds, once per best trial."""
    from fl_platform.study.final_comparison import as_json, best_trial, evaluate, fresh_seeds

    best, comparisons = best_trial(study), list(study.user_attrs.get("final", []))
    if best is None or (comparisons and comparisons[-1]["params"] == best.params):
        return
    seeds = fresh_seeds(objective.problem, len(comparisons))
    samples = [
        evaluate(objective, "default", {}, seeds),
        evaluate(objective, f"tuned: {settings(best.params)}", best.params, seeds),
    ]
    comparisons.append({"params": best.params, "samples": as_json(samples)})
    study.set_user_attr("final", comparisons)


def _tracking(problem: Problem) -> str:
    """Exporter of the study: the last ``runtime.tracking`` of its base."""
    key = "runtime.tracking="
    chosen = [text.removeprefix(key) for text in problem.base if text.startswith(key)]
    return chosen[-1] if chosen else "mlflow"
