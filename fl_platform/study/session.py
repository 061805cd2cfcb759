"""A worker's session: storage, signals, limits and uploads of one ``tune`` command."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from fl_platform.core.process import Stopper
from fl_platform.run.early import refuse_early
from fl_platform.study.constraint import refuse_weightless
from fl_platform.study.export import attach, override_file, plot_study
from fl_platform.study.final_comparison import best_trial
from fl_platform.study.front import NAMES, write_front
from fl_platform.study.objective import Objective
from fl_platform.study.printing import print_trial
from fl_platform.study.problem import METRIC_LABEL, Problem, open_study
from fl_platform.study.spec import as_overrides
from fl_platform.study.storage import artifact_folder
from fl_platform.study.study_run import describe, join_parent
from fl_platform.study.trial_loop import Limits, RequestLock, complete, run_trials
from fl_platform.tracking.atomic import write_atomic
from fl_platform.tracking.exporter import JOURNAL
from fl_platform.tracking.lock import alone
from fl_platform.tracking.mlflow.store import store_folder
from fl_platform.tracking.parent_run import ParentRun
from fl_platform.tracking.run_folder import all_runs
from fl_platform.tracking.uploader import follow


@dataclass
class WorkerSession:
    """One worker process of a study.

    Attributes:
        limits: remaining limits of the command.
        tracking: exporter of the study's runs, as in ``runtime.tracking``.
        trials: number of ended trials.
        seconds: wall time of the trials; ``running``: the part inside their runs.
    """

    home: Path
    storage: BaseStorage
    stopper: Stopper
    limits: Limits
    tracking: str = "mlflow"
    trials: int = 0
    seconds: float = 0.0
    running: float = 0.0

    @property
    def lock(self) -> Path:
        """Lock file that the workers of this machine share."""
        return store_folder(self.home) / ".studies.lock"

    def open(
        self, problem: Problem, parent: ParentRun | None = None
    ) -> tuple[optuna.Study, Objective]:
        """Open the problem's study and the objective of its trials, children of ``parent``.

        Raises:
            ConfigError: the study was begun with other settings, or it has a weight constraint and
                the defense has no weights, or a data file or the GPU is missing for its trials.
            DataError: a missing folder of a data set.
        """
        if problem.spec.stealth is not None:
            refuse_weightless(problem.config({}, problem.spec.seeds[0]))
        with alone(self.lock), ExitStack() as failing:
            study = open_study(problem, self.storage)
            done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
            if not done:  # to show the results of an older study needs no data
                _refuse(problem, self.home)
            if parent is None:
                parent = failing.enter_context(self.join(study, problem))
            objective = Objective(problem, parent, self.stopper, upload=self.upload)
            failing.pop_all()  # from here on the caller ends the parent run
        return study, objective

    def join(self, study: optuna.Study, problem: Problem) -> ParentRun:
        """Open the study's parent run; upload it and the runs that killed workers left behind."""
        with ExitStack() as failing:
            parent = failing.enter_context(join_parent(study, self.home, problem.name))
            describe(parent, problem)
            self.upload(parent.folder.path)
            if self.tracking != JOURNAL:
                for run in all_runs(self.home):
                    if (run.describe() or {}).get("parent_run_id") == parent.run_id:
                        self.upload(run.path)
            failing.pop_all()
        return parent

    def upload(self, folder: Path) -> None:
        """Let the uploader follow the run in ``folder``, unless tracking is ``journal``."""
        follow(self.home, self.tracking, folder)

    def work(self, study: optuna.Study, objective: Objective) -> bool:
        """Run trials until a limit; returns whether the problem has all its trials."""
        lock, problem = RequestLock(self.lock), objective.problem
        report = run_trials(problem, study, objective, lock, self.stopper, self.limits, print_trial)
        if self.limits.trials is not None:
            self.limits = replace(self.limits, trials=self.limits.trials - report.trials)
        self.trials += report.trials
        self.seconds += report.seconds
        self.running += report.seconds_running
        return complete(study, problem)

    def publish(self, study: optuna.Study, objective: Objective, prefix: str = "") -> None:
        """Write the values, the plots and the best settings so far to the parent run."""
        parent, problem = objective.parent, objective.problem
        done = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
        if not done:
            return
        folder = parent.folder.artifacts / prefix
        folder.mkdir(exist_ok=True, parents=True, mode=0o700)
        write, names = (write_front, NAMES) if problem.spec.front else (_write_best, ("value",))
        files = write(study, problem, folder)
        dot = f"study/{prefix}/" if prefix else "study/"
        values = [
            (t.number, {f"{dot}{name}": v for name, v in zip(names, t.values, strict=True)})
            for t in done
        ]
        parent.note(values=values, artifacts=files)
        attach(study, files, artifact_folder(self.home, self.storage))

    def summary(self) -> str:
        """Number of trials, time and overhead of this worker in one line."""
        each = (self.seconds - self.running) / max(self.trials, 1)
        return (
            f"this worker: {self.trials} trials in {self.seconds:.1f} s, overhead {each:.2f} s per"
            " trial"
        )


def _write_best(study: optuna.Study, problem: Problem, folder: Path) -> list[Path]:
    """Write the plots and the best settings as an experiment file."""
    files, best = plot_study(study, folder, METRIC_LABEL), best_trial(study)
    if best is None:
        return files
    comment = f"{problem.name}, trial {best.number}: {best.value:.2f} % on validation samples"
    file = folder / "best.yaml"
    typed = [*problem.base, *problem.opponents[0], *as_overrides(best.params)]
    write_atomic(file, override_file(typed, comment).encode())
    return [*files, file]


def leave(parent: ParentRun, stopper: Stopper, complete: bool) -> None:
    """Write the status of the study when its last worker leaves."""
    if stopper.signal is not None:
        parent.leave("KILLED", f"stopped by signal {stopper.signal}")
    elif complete:
        parent.leave("FINISHED")
    else:
        parent.leave("SCHEDULED", "trials are missing; the same command continues")


def _refuse(problem: Problem, home: Path) -> None:
    """Refuse a problem none of whose runs can start, before its run is recorded."""
    for opponent in problem.opponents:
        refuse_early(problem.config({}, problem.spec.seeds[0], opponent), home)
