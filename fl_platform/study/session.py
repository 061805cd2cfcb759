"""What the stages of one command share: storage, signals, limits, and the way to MLflow."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from fl_platform.core.process import Stopper
from fl_platform.study.console import tell_trial
from fl_platform.study.constraint import refuse_weightless
from fl_platform.study.export import plot_study
from fl_platform.study.final_comparison import winner
from fl_platform.study.objective import Objective
from fl_platform.study.override_file import override_file
from fl_platform.study.parent import Parent
from fl_platform.study.problem import Stage, open_study
from fl_platform.study.space import as_overrides
from fl_platform.study.storage import alone
from fl_platform.study.worker import Limits, Turn, complete, work
from fl_platform.tracking.mlflow.store import StoreError, store_folder

INTERVAL = 120.0  # seconds between two deliveries to MLflow while trials go on


@dataclass
class Session:
    """One worker process, from its first trial to its last word.

    Attributes:
        limits: what is left of the command's own limits.
        tracking: ``mlflow``, or ``journal``: nothing is brought, `fl-platform runs sync` does.
        trials, seconds, running, delivering: what the worker did so far, in counts and wall time.
    """

    home: Path
    storage: RDBStorage
    stopper: Stopper
    limits: Limits
    tracking: str = "mlflow"
    trials: int = 0
    seconds: float = 0.0
    running: float = 0.0
    delivering: float = 0.0
    delivered: float = field(default_factory=time.monotonic)

    @property
    def lock(self) -> Path:
        """What workers of this machine take turns with."""
        return store_folder(self.home) / ".studies.lock"

    def open(self, stage: Stage, parent: Parent | None = None) -> tuple[optuna.Study, Objective]:
        """The stage's study and the objective of its trials, children of ``parent``.

        Raises:
            ConfigError: the study was begun otherwise, or bounds weights that nobody gives.
        """
        if stage.plan.stealth is not None:
            refuse_weightless(stage.config({}, stage.plan.seeds[0]))
        with alone(self.lock):
            study = open_study(stage, self.storage)
            parent = parent or Parent(study, self.home, stage.name)
        return study, Objective(stage, parent, self.stopper)

    def work(self, study: optuna.Study, objective: Objective) -> bool:
        """Run trials of the stage as long as limits allow; whether it has all of them now."""

        def tell(study: optuna.Study, trial: FrozenTrial) -> None:
            tell_trial(study, trial)
            if time.monotonic() - self.delivered > INTERVAL:
                self.deliver(objective)

        turn, delivering = Turn(self.lock), self.delivering
        stage = objective.stage
        report = work(stage, study, objective, turn, self.stopper, self.limits, tell)
        if self.limits.trials is not None:
            self.limits = replace(self.limits, trials=self.limits.trials - report.trials)
        self.trials += report.trials
        self.seconds += report.seconds - (self.delivering - delivering)
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

    def deliver(self, objective: Objective) -> None:
        """Bring what there is to MLflow, unless it is not wanted; a store that fails is told."""
        hashes, objective.hashes = objective.hashes, []
        if self.tracking != "mlflow":
            return
        began = time.monotonic()
        try:
            objective.parent.bring(hashes)
        except StoreError as error:
            objective.hashes = hashes + objective.hashes
            print(f"{error}")
        self.delivered = time.monotonic()
        self.delivering += self.delivered - began

    def summary(self) -> str:
        """One line about this worker."""
        each = (self.seconds - self.running) / max(self.trials, 1)
        return (
            f"this worker: {self.trials} trials in {self.seconds:.1f} s, of which {each:.2f} s a"
            f" trial outside its runs; {self.delivering:.1f} s to bring them to MLflow"
        )
