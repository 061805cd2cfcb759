"""The study's own run: the parent of its trials' runs, with its plots and its winner."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import optuna

from fl_platform.run import provenance
from fl_platform.study.problem import EXPERIMENT, Stage
from fl_platform.tracking.parent_run import ParentRun

KIND = "study"


def join_parent(study: optuna.Study, home: Path, name: str) -> ParentRun:
    """The parent run of ``study``, which its workers share.

    Its description is kept in the study, so workers on several machines mean the same run, and a
    study that was deleted and begun again has another.
    """
    known = study.user_attrs.get("parent")
    run = ParentRun.join(
        home,
        name=f"study {name}",
        identity=hashlib.sha256(f"study\n{name}".encode()).hexdigest(),
        experiment=EXPERIMENT,
        known=known,
    )
    if known is None:
        study.set_user_attr("parent", run.described)
    return run


def describe(run: ParentRun, stage: Stage) -> None:
    """Write what the study is: its kind and code as tags, its base and space as parameters."""
    space = stage.plan.game.attacks if stage.plan.game is not None else stage.plan.space
    run.note(
        tags={"kind": KIND, "study": stage.name, **provenance.code_tags()},
        params={
            "study.base": " ".join(stage.base),
            "study.space": json.dumps(space, sort_keys=True, default=str),
            "study.direction": stage.direction,
            "study.metric": stage.plan.metric,
            "study.seeds": " ".join(map(str, stage.plan.seeds)),
            "study.trials": stage.trials,
        },
        status="RUNNING",
    )
