"""Whole runs through `fl_platform.run.runner.run`, on the embedded digits, journal only."""

import gc
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from fl_platform.config import compose, config_hash
from fl_platform.core.process import Stopper
from fl_platform.federated.callbacks.checkpointing import Commit
from fl_platform.run.runner import run
from fl_platform.tracking.journal import Journal, read
from fl_platform.tracking.lock import RunLock, RunOwned
from fl_platform.tracking.run_folder import IdentityMismatch, run_folder

REPOSITORY = Path(__file__).resolve().parents[1]
QUIET = ["runtime.tracking=journal", "runtime.progress=none"]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    return tmp_path


def config(home, *overrides):
    base = ["task=digits", "attack=strike", "defense=multi_krum", "rounds=6"]
    return compose([*base, *overrides, *QUIET], home)


def test_a_run_leaves_everything_that_a_reader_needs(home):
    asked = config(home, "task.validation=0.2")
    result = run(asked, home)
    folder = run_folder(home, config_hash(asked))
    assert (result.status, result.rounds) == ("FINISHED", 6)
    stored = json.loads(json.dumps(result.to_json()))
    assert stored == {**folder.result, "name": stored["name"]}
    history = read(folder.journal)
    assert history.status == "FINISHED"
    for key in ("test/accuracy", "validation/accuracy", "round/byzantine_weight", "time/local"):
        assert [step for step, _ in history.curve(key)] == [1, 2, 3, 4, 5, 6]
    assert history.params["attack.nu"] == 1.0
    assert history.tags["attack_label"] == "strike(nu=1)"
    assert len(history.tags["data_digest"]) == len(history.tags["partition_digest"]) == 64
    assert {p.name for p in folder.artifacts.iterdir()} >= {
        "config.yaml", "weights.pt", "accuracy.png", "partition.png",
    }  # fmt: skip
    values = [100 * value for _, value in history.curve("test/accuracy")]
    assert result.accuracy_tail == pytest.approx(sum(values) / len(values))
    assert result.accuracy_best == max(values)
    assert len(result.accuracy_per_class) == 10


def test_a_finished_run_is_not_run_again(home):
    first = run(config(home), home)
    before = run_folder(home, first.config_hash).journal.read_bytes()
    assert run(config(home), home) == first
    assert run_folder(home, first.config_hash).journal.read_bytes() == before


def test_the_seed_decides_and_nothing_else(home, tmp_path):
    first = run(config(home), home)
    again = run(config(home, "runtime.fresh=true"), home)
    other = run(config(home, "seed=1"), home)
    assert again.weights_sha256 == first.weights_sha256
    assert other.weights_sha256 != first.weights_sha256


@pytest.mark.parametrize("way", ["vmapped", "sequential"])
def test_double_precision_is_double_throughout(home, way):
    single = run(config(home, f"runtime.local={way}", "rounds=2"), home)
    shutil.rmtree(home / "mlruns")
    chosen = [f"runtime.local={way}", "rounds=2", "runtime.precision=64-true"]
    result = run(config(home, *chosen), home)
    weights = torch.load(run_folder(home, result.config_hash).artifacts / "weights.pt")
    assert {value.dtype for value in weights.values()} == {torch.float64}
    assert result.weights_sha256 != single.weights_sha256
    assert result.accuracy_last == pytest.approx(single.accuracy_last, abs=1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_continues_to_the_same_bits(home, monkeypatch, number):
    whole = run(config(home), home)
    shutil.rmtree(home / "mlruns")
    original = Commit.on_train_epoch_end

    def interrupt(self, trainer, module):
        if trainer.global_step == 3:
            os.kill(os.getpid(), number)
        original(self, trainer, module)

    monkeypatch.setattr(Commit, "on_train_epoch_end", interrupt)
    stopped = run(config(home), home)
    folder = run_folder(home, whole.config_hash)
    assert (stopped.status, stopped.rounds) == ("KILLED", 3)
    assert stopped.reason.endswith(f"signal {number.value}")
    assert read(folder.journal).status == "KILLED"
    assert folder.result is None
    monkeypatch.undo()
    resumed = run(config(home), home)
    assert resumed.status == "FINISHED"
    assert resumed.weights_sha256 == whole.weights_sha256
    assert resumed.run_id == stopped.run_id
    assert resumed.accuracy_tail == whole.accuracy_tail
    assert not read(folder.journal).alarms


def test_a_run_killed_after_its_last_round_loses_nothing(home, monkeypatch):
    whole = run(config(home), home)
    shutil.rmtree(home / "mlruns")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fl_platform.run.runner.write_artifacts", killed)
    with pytest.raises(KeyboardInterrupt):
        run(config(home), home)
    monkeypatch.undo()
    resumed = run(config(home), home)
    assert len(whole.accuracy_per_class) == 10
    assert resumed.accuracy_per_class == whole.accuracy_per_class
    assert resumed.weights_sha256 == whole.weights_sha256


def test_another_machine_or_code_is_refused_by_name(home, monkeypatch):
    asked = config(home)
    folder = run_folder(home, config_hash(asked)).create()
    folder.create_or_verify(
        name="old", config_hash=config_hash(asked), experiment="digits", conditions={"threads": 8}
    )
    with pytest.raises(IdentityMismatch, match="threads: 8 then, 1 now"):
        run(asked, home)
    assert run(config(home, "runtime.continue_anyway=true"), home).status == "FINISHED"


def test_a_run_that_somebody_works_on_is_left_alone(home):
    asked = config(home)
    folder = run_folder(home, config_hash(asked)).create()
    with RunLock(folder.lock), pytest.raises(RunOwned, match=f"process {os.getpid()}"):
        run(asked, home)


def test_a_diverging_run_ends_as_such_and_keeps_its_reason(home):
    asked = config(home, "task.local.lr=1e30", "task.local.clip=null", "defense=mean")
    result = run(asked, home)
    assert result.status == "DIVERGED"
    assert result.reason.startswith("round 0")
    assert read(run_folder(home, config_hash(asked)).journal).status == "DIVERGED"


def test_an_error_is_the_last_word_of_the_journal(home, monkeypatch):
    monkeypatch.setattr(
        "fl_platform.run.runner.build_module",
        lambda *_: (_ for _ in ()).throw(RuntimeError("planted")),
    )
    asked = config(home)
    with pytest.raises(RuntimeError, match="planted"):
        run(asked, home)
    folder = run_folder(home, config_hash(asked))
    assert read(folder.journal).status == "FAILED"
    Journal(folder.journal).close()


def test_a_replayed_round_that_differs_raises_the_alarm(home):
    """The negative control of every equality above: the journal notices a changed number."""
    result = run(config(home), home)
    folder = run_folder(home, result.config_hash)
    journal = Journal(folder.journal)
    with pytest.warns(UserWarning, match="test/accuracy"):
        journal.metrics(3, {"test/accuracy": 2.0})
    journal.close()
    assert read(folder.journal).alarms


def test_a_callback_can_leave_a_run_that_the_same_call_then_continues(home):
    class GivesUp(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.global_step >= 2

    left = run(config(home), home, callbacks=[GivesUp()])
    assert (left.status, left.rounds) == ("KILLED", 2)
    assert left.reason == "stopped by a callback after round 2 of 6"
    assert not run_folder(home, left.config_hash).result_file.exists()
    result = run(config(home), home)
    assert (result.status, result.rounds) == ("FINISHED", 6)
    history = read(run_folder(home, result.config_hash).journal)
    assert [step for step, _ in history.curve("test/accuracy")] == [1, 2, 3, 4, 5, 6]
    assert not history.alarms
    assert run(config(home, "runtime.fresh=true"), home).weights_sha256 == result.weights_sha256


def test_a_signal_in_a_run_reaches_whoever_runs_many(home, monkeypatch):
    original = Commit.on_train_epoch_end

    def asked(self, trainer, module):
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, trainer, module)

    monkeypatch.setattr(Commit, "on_train_epoch_end", asked)
    with Stopper() as outer:
        assert run(config(home), home).status == "KILLED"
        assert outer.signal == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == outer._ask
    with Stopper() as quiet:  # the negative control: nobody asked again
        assert run(config(home), home).status == "FINISHED"
        assert quiet.signal is None


def test_double_precision_continues_to_the_same_bits(home):
    asked = config(home, "runtime.precision=64-true")
    assert run(asked, home, callbacks=[_gives_up()]).status == "KILLED"
    resumed = run(asked, home)
    assert not read(run_folder(home, resumed.config_hash).journal).alarms
    shutil.rmtree(home / "mlruns")
    assert run(asked, home).weights_sha256 == resumed.weights_sha256


def test_double_precision_killed_after_its_last_round_can_be_finished(home, monkeypatch):
    asked = config(home, "runtime.precision=64-true", "rounds=2")
    whole = run(asked, home)
    shutil.rmtree(home / "mlruns")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fl_platform.run.runner.write_artifacts", killed)
    with pytest.raises(KeyboardInterrupt):
        run(asked, home)
    monkeypatch.undo()
    resumed = run(asked, home)
    assert resumed.accuracy_per_class == whole.accuracy_per_class
    assert resumed.weights_sha256 == whole.weights_sha256


def test_other_vector_instructions_are_refused_by_name(home, monkeypatch):
    stopped = run(config(home), home, callbacks=[_gives_up()])
    assert stopped.status == "KILLED"
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    with pytest.raises(IdentityMismatch, match="ATEN_CPU_CAPABILITY: None then, 'avx2' now"):
        run(config(home), home)
    monkeypatch.undo()
    monkeypatch.setattr("fl_platform.run.provenance.processor", lambda: "another")
    with pytest.raises(IdentityMismatch, match=r"processor: .* then, 'another' now"):
        run(config(home), home)
    assert run(config(home, "runtime.continue_anyway=true"), home).status == "FINISHED"


def _gives_up():
    class GivesUp(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.global_step >= 2

    return GivesUp()


def test_nothing_of_a_run_stays_but_cycles_that_python_collects(home, monkeypatch):
    """What stays would fill a GPU after some runs of one worker."""
    kinds = ("FederatedModule", "Trainer", "Round", "Updates")

    def left():
        return sum(type(it).__name__ in kinds for it in gc.get_objects())

    freed = []
    monkeypatch.setattr(
        "fl_platform.run.runner.free_earlier_runs", lambda device: freed.append(device.type)
    )
    gc.collect()
    before = left()
    run(config(home), home)
    gc.collect()
    assert left() <= before
    assert freed == ["cpu"]
