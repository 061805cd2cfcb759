"""Whole runs with what the field uses: dropout, tables, tokens; and exact after a kill."""

from pathlib import Path

import numpy as np
import pytest

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.federated.callbacks.checkpointing import Commit
from fl_platform.run.runner import run

ROOT = Path(__file__).parents[1]
QUIET = ["runtime.tracking=journal", "runtime.progress=none", "rounds=4", "task.clients=6"]
DROPOUT = ["model=bucketing_cnn", "local=fedsgd", "server.lr=0.1", "worker.momentum=0.9"]
AUGMENTED = ["task.local.crop=1", "task.local.flip=true", "task.local.steps=2"]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    return tmp_path


@pytest.mark.parametrize("settings", [DROPOUT, AUGMENTED], ids=["dropout", "augmented"])
def test_a_killed_run_goes_on_to_the_same_weights(home, tmp_path_factory, monkeypatch, settings):
    overrides = ["attack=ipm", "defense=trimmed_mean", *settings, *QUIET]
    whole = run(compose(overrides, home), home)
    assert whole.status == "FINISHED"

    other = tmp_path_factory.mktemp("killed")
    (other / "conf").symlink_to(ROOT / "conf")
    config = compose(overrides, other)
    original = Commit.on_train_epoch_end

    def broken(self, trainer, module):
        trainer.should_stop = trainer.global_step == 2
        original(self, trainer, module)

    monkeypatch.setattr(Commit, "on_train_epoch_end", broken)
    assert run(config, other).status == "KILLED"
    monkeypatch.undo()
    assert run(config, other).weights_sha256 == whole.weights_sha256


@pytest.mark.parametrize("task", ["tabular", "tokens"])
def test_data_that_are_no_images_train(home, task):
    chance = np.random.default_rng(0)
    labels = chance.integers(3, size=90)
    if task == "tabular":
        inputs = chance.normal(size=(90, 5)) + 3 * np.eye(5)[labels]
    else:
        inputs = chance.integers(3, size=(90, 6)) + 3 * labels[:, None]
    (home / "data").mkdir()
    np.savez(
        home / "data" / f"{task}.npz",
        train_inputs=inputs, train_labels=labels, test_inputs=inputs, test_labels=labels,
    )  # fmt: skip
    overrides = [f"task={task}", "partition=iid", "task.local.batch=8", "task.local.epochs=10"]
    result = run(compose([*overrides, *QUIET, "task.local.lr=0.5"], home), home)
    assert result.accuracy_last > 0.6
    with pytest.raises(ConfigError, match=r"task\.local\.crop: expected 0"):
        run(compose([*overrides, *QUIET, "task.local.crop=2"], home), home)


def test_a_crop_that_may_leave_no_pixel_of_the_image_is_refused(home):
    with pytest.raises(ConfigError, match=r"task\.local\.crop: expected below 8.*got 8"):
        run(compose(["task=digits", *QUIET, "task.local.crop=8"], home), home)


def test_a_network_of_the_group_replaces_that_of_the_task(home):
    config = compose(["model=fc_mnist", "model.hidden=20"], home)
    spelled = ["task.model._target_=fl_platform.models.fc_mnist", "task.model.hidden=20"]
    assert config_hash(config) == config_hash(compose(spelled, home))
    assert config_hash(compose(["model=mlp"], home)) == config_hash(compose([], home))
    for wrong, words in [
        (["model=fc_mnist", "task.model.hidden=3"], "task.model.hidden: expected no such setting"),
        (["model=fc_mnis"], "did you mean 'fc_mnist'"),
        (["model=lenet", "model.hidden=3"], "model.hidden: lenet has no such parameter"),
        (["task.local.crop=-1"], "task.local.crop: expected a number >= 0"),
        (["task.local.flip=1"], "task.local.flip: expected true or false"),
    ]:
        with pytest.raises(ConfigError, match=words):
            compose(wrong, home)
