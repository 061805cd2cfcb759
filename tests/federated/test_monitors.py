"""Early stopping, best checkpoints and loggers that a configuration adds to a run."""

import csv
import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.federated import FederatedModule, Federation
from fl_platform.federated.callbacks.monitors import loggable
from fl_platform.run.build import build_model, load_population
from fl_platform.run.runner import run
from fl_platform.tracking.journal import Journal, read
from fl_platform.tracking.run_folder import head, run_folder

REPOSITORY = Path(__file__).resolve().parents[2]
QUIET = ["task.validation=0.2", "runtime.tracking=journal", "runtime.progress=none"]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    return tmp_path


def started(home, *overrides, callbacks=()):
    config = compose([*overrides, *QUIET], home)
    return run(config, home, callbacks=callbacks), run_folder(home, config_hash(config))


class StopAfter(Callback):
    def __init__(self, rounds):
        self.rounds = rounds

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step == self.rounds


ALL_OBSERVERS = (
    *("rounds=1", "attack=lie", "attack.knowledge=9", "defense=multi_krum", "seed=1"),
    *("observers.skew={every: 1, null_every: 1}", "observers.cloud.every=1"),
    "evaluation.scores=[f1,calibration_error,per_class,per_client]",
    *("task.local.schedule={kind: cosine, rounds: 2}", "attack.schedule={ramp: 2}"),
    "server.schedule={kind: cosine, rounds: 2}",
)
STOP = ("callbacks=early_stop", "callbacks.early_stop.min_delta=9", "rounds=20")


def test_a_configured_early_stop_finishes_the_run(home):
    result, folder = started(home, *STOP, "callbacks.early_stop.patience=2")
    assert (result.status, result.rounds) == ("FINISHED", 3)
    assert result.reason == "stopped early after round 3 of 20"
    assert result.accuracy_last == 100 * read(folder.journal).curve("test/accuracy")[-1][1]
    again, _ = started(home, *STOP, "callbacks.early_stop.patience=2")
    assert again == result


def test_patience_counts_measurements_not_rounds(home):
    patience = "callbacks.early_stop.patience=2"
    result, _ = started(home, *STOP, patience, "evaluation.every=3")
    assert result.rounds == 9  # measured after rounds 3, 6 and 9


def test_a_callback_from_python_only_interrupts(home):
    stopping = EarlyStopping(monitor="round/loss", min_delta=9.0, patience=1)
    result, _ = started(home, "rounds=4", callbacks=[stopping])
    assert (result.status, result.rounds) == ("KILLED", 2)


def test_the_last_round_of_an_early_stop_is_evaluated(home):
    often = ("callbacks.early_stop.monitor=round/loss", "callbacks.early_stop.patience=2")
    for every in (2, 10):
        result, folder = started(home, *STOP, *often, f"evaluation.every={every}")
        assert (result.status, result.rounds) == ("FINISHED", max(4, every))
        assert read(folder.journal).curve("test/accuracy")[-1][0] == result.rounds


def test_a_run_that_waits_for_its_last_evaluation_can_be_interrupted(home):
    often = ("callbacks.early_stop.monitor=round/loss", "callbacks.early_stop.patience=2")
    typed = (*STOP, *often, "evaluation.every=5")
    result, _ = started(home, *typed, callbacks=[StopAfter(4)])
    assert (result.status, result.rounds) == ("KILLED", 4)
    result, _ = started(home, *typed)
    assert (result.status, result.rounds) == ("FINISHED", 5)


class Logs(Callback):
    """A callback of the user, whose values are not known before they are logged."""

    def on_train_batch_end(self, trainer, pl_module, *_):
        pl_module.log("own/value", 1.0)


MISSPELT = {"round/los": "round/loss", "test/acuracy": "test/accuracy", "tset/loss": "test/loss"}


@pytest.mark.parametrize("name", ["early_stop", "best_checkpoint"])
@pytest.mark.parametrize("misspelt", MISSPELT)
@pytest.mark.parametrize("own", [False, True])
def test_a_misspelt_monitor_is_refused_before_round_1_where_all_values_are_known(
    home, name, misspelt, own
):
    typed = [f"callbacks={name}", f"callbacks.{name}.monitor={misspelt}", "rounds=30", *QUIET]
    config = compose(typed, home)
    says = rf"^callbacks\.{name}\.monitor: .*'{misspelt}'; did you mean '{MISSPELT[misspelt]}'\?"
    with pytest.raises(ConfigError, match=rf"{says} Logged are .*test/accuracy"):
        run(config, home, callbacks=[Logs()] if own else [])
    metrics = read(run_folder(home, config_hash(config)).journal).metrics
    rounds = max((step for steps in metrics.values() for step in steps), default=0)
    assert rounds == (10 if own else 0)  # of the observers, that of skew measures most rarely


def test_a_value_that_a_callback_of_the_user_logs_can_be_monitored(home):
    typed = ("callbacks.early_stop.monitor=own/value", "callbacks.early_stop.patience=2")
    result, _ = started(home, *STOP, *typed, callbacks=[Logs()])
    assert (result.status, result.rounds) == ("FINISHED", 3)


def test_an_observer_declares_all_that_it_logs(home):
    """Misspelt monitors are found by these names."""
    config = compose([*ALL_OBSERVERS, *QUIET], home)
    seen = []

    class Sees(Callback):
        def on_fit_end(self, trainer, pl_module):
            own = [one for one in trainer.callbacks if one is not self]
            parts = SimpleNamespace(callbacks=own)
            seen.append((loggable(parts, pl_module), set(trainer.callback_metrics)))

    for each in (config, replace(config, defense=compose(["defense=median"], home).defense)):
        run(each, home, callbacks=[Sees()])
    for known, logged in seen:
        assert not [n for n in logged if not any(fnmatchcase(n, each) for each in known)]
        assert logged >= {"round/kappa", "skew/rho_z", "client/worst", "test/class_3"}


@pytest.mark.parametrize("name", ["early_stop", "best_checkpoint"])
def test_a_resumed_run_waits_for_the_next_measurement(home, name):
    typed = (f"callbacks={name}", "observers=none", "evaluation.every=3", "rounds=6")
    assert started(home, *typed, callbacks=[StopAfter(4)])[0].status == "KILLED"
    assert started(home, *typed)[0].status == "FINISHED"  # round 5 measures no validation score


def test_the_best_checkpoint_of_a_run_and_its_last_state_can_be_loaded(home):
    config = compose(["callbacks=best_checkpoint", "rounds=4", *QUIET], home)
    run(config, home)
    folder, population = run_folder(home, config_hash(config)), load_population(config, home)
    curve = dict(read(folder.journal).curve("validation/accuracy"))
    (best,) = (folder.artifacts / "best").glob("*.ckpt")
    assert curve[int(best.stem.removeprefix("round-"))] == max(curve.values())
    federation: Federation = population.federation
    for path, score in ((best, max(curve.values())), (folder.checkpoint, curve[4])):
        with pytest.warns(UserWarning, match=r"was given server=\.\.\."):
            module = FederatedModule.load_from_checkpoint(
                path, model=build_model(config, population.dataset), federation=federation
            )
        held_out = population.held_out["validation"]
        outputs = module.eval()(held_out.inputs)
        right = (outputs.argmax(1) == held_out.targets).double().mean()
        assert float(right) == pytest.approx(score)


def test_the_csv_logger_has_all_that_the_journal_has(home):
    result, folder = started(home, "loggers=csv", "rounds=2")
    assert result.status == "FINISHED"
    text = (folder.artifacts / "csv" / "metrics.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    history = read(folder.journal)
    for name in ("test/accuracy", "round/loss"):
        assert [(int(r["step"]), float(r[name])) for r in rows] == history.curve(name)
    assert "attack" in (folder.artifacts / "csv" / "hparams.yaml").read_text()


def test_a_killed_run_continues_its_table_and_its_best_checkpoint(home):
    typed = ("loggers=csv", "callbacks=best_checkpoint", "rounds=4")
    result, folder = started(home, *typed, callbacks=[StopAfter(2)])
    assert result.status == "KILLED"
    journal = Journal(folder.journal, head(folder.describe()))
    journal.metrics(1, {"system/cpu_utilization_percentage": 7.0})  # a sample, of no round
    journal.close()
    best, table = folder.artifacts / "best", folder.artifacts / "csv" / "metrics.csv"
    table.unlink()  # the kill came before its rows were on the disk
    (best / "round-3.ckpt").touch()  # the kill came after this round, before its checkpoint
    started(home, *typed)
    history = read(folder.journal)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(int(r["step"]), float(r["round/loss"])) for r in rows] == history.curve("round/loss")
    assert len(rows) == 4
    assert not [name for name in rows[0] if name.startswith("system/")]
    (kept,) = best.glob("*.ckpt")
    assert kept.stat().st_size


@pytest.mark.parametrize("name", ["early_stop", "best_checkpoint"])
def test_a_monitor_without_samples_is_refused_before_the_first_round(home, name):
    typed = [f"callbacks={name}", "task.validation=0", "rounds=1"]
    config = compose([*QUIET, *typed], home)
    with pytest.raises(ConfigError, match=r"validation samples .* by task\.validation=0\.2"):
        run(config, home)
    assert not read(run_folder(home, config_hash(config)).journal).metrics


def test_tensorboard_says_what_it_needs(home, monkeypatch):
    from lightning.pytorch.loggers import tensorboard

    for module in (tensorboard, sys.modules["lightning.fabric.loggers.tensorboard"]):
        for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
            monkeypatch.setattr(module, name, False, raising=False)
    with pytest.raises(ConfigError, match="loggers: expected the package tensorboard"):
        started(home, "loggers=tensorboard", "rounds=1")
