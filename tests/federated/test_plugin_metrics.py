"""A metric of a plug-in: its cadence, and its memory over an interruption."""

from pathlib import Path

import pytest
from lightning.pytorch import Callback

from fl_platform.config import compose, config_hash
from fl_platform.run.runner import run
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

REPOSITORY = Path(__file__).resolve().parents[2]
QUIET = ["runtime.tracking=journal", "runtime.progress=none"]

COUNTING = '''
from fl_platform.federated import Round

__all__ = ["Count", "Forgetful"]


class Forgetful:
    """The number of rounds that this object has seen."""

    def __init__(self, *, step: int = 1) -> None:
        self.step, self.seen = step, 0

    def __call__(self, round: Round) -> dict[str, float]:
        self.seen += self.step
        return {"seen": float(self.seen)}


class Count(Forgetful):
    def __init__(self, *, step: int = 1) -> None:
        super().__init__(step=step)

    def state_dict(self) -> dict[str, int]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.seen = state["seen"]
'''


class StopAfter(Callback):
    def __init__(self, rounds):
        self.rounds = rounds

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.global_step == self.rounds


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    (tmp_path / "counting.py").write_text(COUNTING)
    return tmp_path


def test_a_metric_with_memory_continues_and_one_without_starts_again(home):
    named = [f"+observers.metrics.{n}._target_=counting.{n}" for n in ("Count", "Forgetful")]
    config = compose([*named, "rounds=4", *QUIET], home, plugins=["counting"])
    assert run(config, home, callbacks=[StopAfter(2)]).status == "KILLED"
    assert run(config, home).status == "FINISHED"
    history = read(run_folder(home, config_hash(config)).journal)
    assert history.curve("Count/seen") == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert history.curve("Forgetful/seen") == [(1, 1), (2, 2), (3, 1), (4, 2)]


def test_a_metric_is_measured_in_the_first_round_and_every_so_many(home):
    typed = ["+observers.metrics.n={_target_:counting.Count,every:2}", "rounds=4", *QUIET]
    config = compose(typed, home, plugins=["counting"])
    run(config, home)
    history = read(run_folder(home, config_hash(config)).journal)
    assert history.curve("n/seen") == [(1, 1), (3, 2)]
