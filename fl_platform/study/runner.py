"""Many runs that look for something: an Optuna study from its file to its honest numbers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fl_platform.config import ConfigError
from fl_platform.config.hydra_tree import parse_overrides
from fl_platform.study.console import find_study, settings, show_study
from fl_platform.study.problem import Stage
from fl_platform.study.spec import Plan, load_plan
from fl_platform.study.storage import faults_of_storage, open_storage

if TYPE_CHECKING:
    from optuna import Study

    from fl_platform.study.objective import Objective
    from fl_platform.study.session import Session


@dataclass(frozen=True)
class Outcome:
    """How a worker left: the study's name, whether it has all its trials, the signal if any."""

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
) -> Outcome:
    """Create or resume the study of ``tuning/<file>.yaml`` and work on it.

    Any number of processes may do so at once. When the study has the trials that its file wants,
    whoever ended the last one runs the winner and the default with fresh seeds on the test set.

    Args:
        typed: overrides of the file's base.
        trials: how many to add; else as many as the file wants in all.
        timeout: seconds after which no further trial is begun; else the file's.
        storage: URL of a database that several machines share; else a file under ``mlruns/``.
        name: of the study; else the file's name and what was typed.
        final: look at the test set now, although trials are missing.

    Raises:
        ConfigError: the file or an override cannot be used, or the study was begun otherwise.
        StoreError: the storage cannot be opened.
    """
    stage = prepare(file, typed, home, name=name, plugins=plugins)
    # Below are Lightning and torch, for which a refusal need not wait.
    from fl_platform.core.process import Stopper
    from fl_platform.study.minimax import play
    from fl_platform.study.session import Session
    from fl_platform.study.worker import Limits

    wait = timeout if timeout is not None else stage.plan.budget.timeout
    limits = Limits(trials, None if wait is None else time.monotonic() + wait)
    with Stopper() as stopper:
        session = Session(home, open_storage(home, storage), stopper, limits, _tracking(stage))
        with faults_of_storage(session.storage, stage.name):
            print(f"study {stage.name}", flush=True)
            complete = play(session, stage) if stage.plan.game else _plain(session, stage, final)
            show_study(find_study(session.storage, stage.name))
        print(session.summary())
        return Outcome(stage.name, complete, stopper.signal)


def show(study: str, home: Path, *, storage: str | None = None) -> None:
    """Print the best trials of a study and what the test set said."""
    show_study(find_study(open_storage(home, storage), study))


def prepare(
    file: str,
    typed: Sequence[str],
    home: Path,
    *,
    name: str | None = None,
    plugins: Sequence[str] = (),
) -> Stage:
    """The study of ``tuning/<file>.yaml``, checked as far as that goes without training.

    Raises:
        ConfigError: the file or an override cannot be used.
    """
    plan = load_plan(file, home)
    stage = assemble(plan, name or study_name(file, typed), typed, home, plugins)
    stage.check()
    return stage


def study_name(file: str, typed: Sequence[str]) -> str:
    """``strike_nu/defense=multi_krum,task=digits``: the same for any order of what was typed."""
    told = sorted(text for text in typed if not text.startswith("runtime."))
    return f"{file}/{','.join(told)}" if told else file


def assemble(
    plan: Plan, name: str, typed: Sequence[str], home: Path, plugins: Sequence[str]
) -> Stage:
    """The stage of a plain study, or the table of a game.

    Raises:
        ConfigError: what was typed sets a seed, a key that the study varies or another sweep.
    """
    keys = {override.key_or_group for override in parse_overrides(typed)}
    varied = plan.space if plan.game is None else {k for s in plan.game.attacks.values() for k in s}
    for key in sorted(keys & {*varied, "seed"}):
        raise ConfigError(f"{key}: the study's file says it; change it there, or in a copy of it.")
    base = [text for text in plan.base if text.partition("=")[0] not in keys]
    rounds = [] if plan.rounds is None or "rounds" in keys else [f"rounds={plan.rounds}"]
    progress = [] if "runtime.progress" in keys else ["runtime.progress=none"]
    attacks = list(plan.game.attacks) if plan.game else []
    return Stage(
        name=name,
        plan=plan,
        home=home,
        base=(*base, *rounds, *typed, *progress),
        rivals=((f"attack={attacks[0]}",),) if attacks else ((),),
        space={} if plan.game else plan.varied,
        direction=plan.direction,
        trials=plan.budget.trials,
        start=tuple(plan.start),
        plugins=tuple(plugins),
    )


def _plain(session: Session, stage: Stage, final: bool) -> bool:
    from fl_platform.study.objective import GivenBack
    from fl_platform.study.session import leave

    study, objective = session.open(stage)
    complete = False
    with objective.parent as parent:
        with contextlib.suppress(GivenBack):
            complete = session.work(study, objective)
            if (complete or final) and session.stopper.signal is None:
                _look_at_test_set(study, objective)
        session.publish(study, objective)
        leave(parent, session.stopper, complete)
    return complete and session.stopper.signal is None


def _look_at_test_set(study: Study, objective: Objective) -> None:
    """Run the winner and the default with fresh seeds, once for each winner."""
    from fl_platform.study.final_comparison import as_json, fresh_seeds, sample, winner

    best, looks = winner(study), list(study.user_attrs.get("final", []))
    if best is None or (looks and looks[-1]["params"] == best.params):
        return
    seeds = fresh_seeds(objective.stage, len(looks))
    samples = [
        sample(objective, "default", {}, seeds),
        sample(objective, f"tuned: {settings(best.params)}", best.params, seeds),
    ]
    looks.append({"params": best.params, "samples": as_json(samples)})
    study.set_user_attr("final", looks)


def _tracking(stage: Stage) -> str:
    """Where the study goes; its runs are always journalled first."""
    key = "runtime.tracking="
    chosen = [text.removeprefix(key) for text in stage.base if text.startswith(key)]
    return chosen[-1] if chosen else "mlflow"
