"""The parent run of a study: tags, parameters, plots and best settings."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import optuna

from fl_platform.run import provenance
from fl_platform.study.problem import EXPERIMENT, Problem
from fl_platform.tracking.parent_run import ParentRun

KIND = "study"


def join_parent(study: optuna.Study, home: Path, name: str) -> ParentRun:
    """Open the parent run of ``study``; all workers share it.

    Its identity is stored in the study, so workers on several machines use the same run, and a
    study that was deleted and created again gets another one.
    """
    known = study.user_attrs.get("parent")
    run = ParentRun.join(
        home,
        name=f"study {name}",
        identity=hashlib.sha256(f"study\n{name}".encode()).hexdigest(),
        experiment=EXPERIMENT,
        known=known,
    )
    with ExitStack() as failing:
        failing.enter_context(run)
        if known is None:
            study.set_user_attr("parent", run.described)
        failing.pop_all()
    return run


def describe(run: ParentRun, problem: Problem) -> None:
    """Write kind and code as tags, base and space as parameters."""
    spaces = {key: asdict(entry) for key, entry in problem.space.items()}
    space = problem.spec.game.attacks if problem.spec.game is not None else spaces
    run.note(
        tags={"kind": KIND, "study": problem.name, **provenance.code_tags()},
        params={
            "study.base": " ".join(problem.base),
            "study.space": json.dumps(space, sort_keys=True, default=str),
            "study.direction": problem.direction,
            "study.metric": problem.spec.metric,
            "study.seeds": " ".join(map(str, problem.spec.seeds)),
            "study.trials": problem.trials,
        },
        status="RUNNING",
    )
