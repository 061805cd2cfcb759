"""What the stages of one command share: storage, signals, limits, and the uploader."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from fl_platform.core.process import Stopper
from fl_platform.study.console import tell_trial
from fl_platform.study.constraint import refuse_weightless
from fl_platform.study.export import override_file, plot_study
from fl_platform.study.final_comparison import winner
from fl_platform.study.objective import Objective
from fl_platform.study.parent import describe, join_parent
from fl_platform.study.problem import Stage, open_study
from fl_platform.study.spec import as_overrides
from fl_platform.study.worker import Limits, Turn, complete, work
from fl_platform.tracking.exporter import JOURNAL
from fl_platform.tracking.lock import alone
from fl_platform.tracking.mlflow.store import store_folder
from fl_platform.tracking.parent_run import ParentRun
from fl_platform.tracking.run_folder import all_runs
from fl_platform.tracking.uploader import follow


@dataclass
class Session:
    """One worker process, from its first trial to its last word.

    Attributes:
        limits: what is left of the command's own limits.
        tracking: where the study's runs are copied to, as ``runtime.tracking`` has it.
        trials, seconds, running: what the worker did so far, in counts and wall time.
    """

    home: Path
    storage: RDBStorage
    stopper: Stopper
    limits: Limits
    tracking: str = "mlflow"
    trials: int = 0
    seconds: float = 0.0
    running: float = 0.0

    @property
    def lock(self) -> Path:
        """What workers of this machine take turns with."""
        return store_folder(self.home) / ".studies.lock"

    def open(self, stage: Stage, parent: ParentRun | None = None) -> tuple[optuna.Study, Objective]:
        """The stage's study and the objective of its trials, children of ``parent``.

        Raises:
            ConfigError: the study was begun otherwise, or bounds weights that nobody gives.
        """
        if stage.plan.stealth is not None:
            refuse_weightless(stage.config({}, stage.plan.seeds[0]))
        with alone(self.lock):
            study = open_study(stage, self.storage)
            parent = parent or self.join(study, stage)
        return study, Objective(stage, parent, self.stopper, upload=self.upload)

    def join(self, study: optuna.Study, stage: Stage) -> ParentRun:
        """The study's own run; it is uploaded, and so is what killed workers left."""
        parent = join_parent(study, self.home, stage.name)
        describe(parent, stage)
        self.upload(parent.folder.path)
        if self.tracking != JOURNAL:
            for run in all_runs(self.home):
                if (run.describe() or {}).get("parent_run_id") == parent.run_id:
                    self.upload(run.path)
        return parent

    def upload(self, folder: Path) -> None:
        """Have the uploader follow the run in ``folder``, unless only a journal is wanted."""
        follow(self.home, self.tracking, folder)

    def work(self, study: optuna.Study, objective: Objective) -> bool:
        """Run trials of the stage as long as limits allow; whether it has all of them now."""

        turn, stage = Turn(self.lock), objective.stage
        report = work(stage, study, objective, turn, self.stopper, self.limits, tell_trial)
        if self.limits.trials is not None:
            self.limits = replace(self.limits, trials=self.limits.trials - report.trials)
        self.trials += report.trials
        self.seconds += report.seconds
        self.running += report.seconds_running
        return complete(study, stage)

    def publish(self, study: optuna.Study, objective: Objective, prefix: str = "") -> None:
        """Write values, pictures and the best settings so far to the study's run."""
        parent, stage = objective.parent, objective.stage
        done = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
        if not done:
            return
        folder = parent.folder.artifacts / prefix
        folder.mkdir(exist_ok=True, parents=True, mode=0o700)
        files = plot_study(study, folder, "validation accuracy (%)")
        best = winner(study)
        if best is not None:
            told = f"{stage.name}, trial {best.number}: {best.value:.2f} % on validation samples"
            file = folder / "best.yaml"
            typed = [*stage.base, *stage.rivals[0], *as_overrides(best.params)]
            file.write_text(override_file(typed, told), encoding="utf-8")
            files.append(file)
        dot = f"{prefix}/" if prefix else ""
        values = [(t.number, {f"study/{dot}value": float(t.value or 0.0)}) for t in done]
        parent.note(values=values, artifacts=files)

    def summary(self) -> str:
        """One line about this worker."""
        each = (self.seconds - self.running) / max(self.trials, 1)
        return (
            f"this worker: {self.trials} trials in {self.seconds:.1f} s, overhead {each:.2f} s per"
            " trial"
        )


def leave(parent: ParentRun, stopper: Stopper, complete: bool) -> None:
    """Write how the study stands when this worker leaves, the last one: done, stopped, to go on."""
    if stopper.signal is not None:
        parent.leave("KILLED", f"stopped by signal {stopper.signal}")
    elif complete:
        parent.leave("FINISHED")
    else:
        parent.leave("SCHEDULED", "trials are missing; the same command continues")
