"""Runs that cost nothing: a folder, a journal and a result whose accuracy is a given function."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing

from fl_platform.config import config_hash
from fl_platform.core.process import Stopper
from fl_platform.run import runner as running
from fl_platform.run.naming import run_name
from fl_platform.run.result import Result, finished
from fl_platform.study.objective import Objective
from fl_platform.study.problem import Problem, open_study
from fl_platform.study.spec import StudySpec, parse_space
from fl_platform.study.storage import database, open_storage
from fl_platform.study.study_run import join_parent
from fl_platform.study.trial_loop import Limits, RequestLock, run_trials
from fl_platform.tracking.active_run import ActiveRun
from fl_platform.tracking.lock import alone

NU = {"attack.nu": {"low": 0.1, "high": 4.0}}


def valley(config):
    """An attack that hurts most at nu = 2.5; seeds shift all of it."""
    return 50.0 + 10.0 * abs(config.attack["nu"] - 2.5) + config.seed


def install(monkeypatch, accuracy=valley, before=lambda config: None):
    """Replace `run.run`; returns the list of configurations that were really run."""
    begun = []

    def run(config, home, *, parent_run_id="", callbacks=()):
        stored = None if config.runtime.fresh else finished(home, config_hash(config))
        if stored is not None:
            return stored
        with ActiveRun.open(
            home,
            name=run_name(config),
            config_hash=config_hash(config),
            experiment=config.experiment,
            conditions={},
            tracking="journal",
            parent_run_id=parent_run_id,
            fresh=config.runtime.fresh,
        ) as record:
            begun.append(config)
            before(config)
            value = accuracy(config)
            status = "DIVERGED" if math.isnan(value) else "FINISHED"
            record.log(1, {"test/accuracy": value / 100, "round/byzantine": 10.0})
            outcome = record.finish(status, ENTRIES | {"validation_tail": value})
            return Result.from_json({"name": "fake", **outcome})

    monkeypatch.setattr(running, "run", run)
    return begun


ENTRIES = {
    "rounds": 1,
    "accuracy_per_class": [],
    "seconds": 0.0,
    "seconds_training": 0.0,
    "weights_sha256": "",
    "reason": "",
}


def make_problem(home, *, space=None, trials=6, name="study", base=(), **plan):
    settings = {"direction": "minimize", "seeds": [0, 1], "start": [], **plan}
    space = space or NU
    whole = StudySpec(base=[], space=space, **settings)
    return Problem(
        name=name,
        spec=whole,
        home=home,
        base=("task=digits", "attack=strike", "task.validation=0.2", *base),
        space=parse_space(space, "space"),
        direction=whole.direction,
        trials=trials,
        start=tuple(whole.start),
    )


def run_worker(problem, *, trials=None, storage=None, stopper=None):
    """One worker from its storage on; the study, the objective and the report."""
    storage, stopper = storage or open_storage(problem.home), stopper or Stopper()
    lock = problem.home / "mlruns" / ".studies.lock"
    with alone(lock):  # as the session does: two workers may begin at once
        study = open_study(problem, storage)
        objective = Objective(problem, join_parent(study, problem.home, problem.name), stopper)
    requests, limits = RequestLock(lock), Limits(trials)
    report = run_trials(problem, study, objective, requests, stopper, limits, lambda *_: None)
    return study, objective, report


def age(home):
    """Make every sign of life an hour older, as if nobody had worked since."""
    with closing(sqlite3.connect(database(home), timeout=60)) as connection:
        connection.execute("UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-1 hour')")
        connection.execute(
            "UPDATE trials SET datetime_start = datetime(datetime_start, '-1 hour')"
            " WHERE datetime_start IS NOT NULL AND state = 'RUNNING'"
        )
        connection.commit()
