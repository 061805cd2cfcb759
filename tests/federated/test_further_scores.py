"""Scores beside accuracy and loss: by hand, against scikit-learn, and in a run."""

from pathlib import Path

import pytest
import torch
from sklearn.metrics import f1_score

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.core import generator
from fl_platform.metrics.scores import (
    calibration_error,
    class_accuracies,
    client_accuracies,
    macro_f1,
)
from fl_platform.run.runner import run
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

REPOSITORY = Path(__file__).resolve().parents[2]
QUIET = ["runtime.tracking=journal", "runtime.progress=none", "task.local.steps=1"]


def test_f1_is_that_of_scikit_learn():
    stream = generator(0, "test-scores")
    outputs = torch.randn(60, 4, generator=stream)
    targets = torch.randint(4, (60,), generator=stream)
    expected = f1_score(targets, outputs.argmax(1), average="macro")
    assert macro_f1(outputs, targets) == pytest.approx(expected)


def test_calibration_error_by_hand():
    sure, unsure = [10.0, 0.0], [0.5, 0.0]  # confidences 0.99995 and 0.62246
    outputs = torch.tensor([sure, sure, unsure, unsure])
    high, low = (torch.tensor(each).softmax(0)[0].item() for each in (sure, unsure))
    targets = torch.tensor([0, 1, 0, 0])
    expected = abs(0.5 - high) / 2 + abs(1 - low) / 2
    assert calibration_error(outputs, targets) == pytest.approx(expected, abs=1e-5)


def test_a_class_without_samples_and_a_client_without_samples_do_not_count():
    outputs = torch.eye(3)[[0, 0, 1, 1]]
    assert class_accuracies(outputs, torch.tensor([0, 0, 0, 1])) == pytest.approx({0: 2 / 3, 1: 1})
    right = torch.tensor([True, False])
    found = client_accuracies(right, [torch.tensor([0]), torch.tensor([]), torch.tensor([1])])
    assert found == {"worst": 0.0, "mean": 0.5, "variance": 0.25}


def test_a_run_logs_the_scores_that_it_names_and_keeps_its_curves(tmp_path):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    scores = "evaluation.scores=[f1,calibration_error,per_class,per_client]"
    history = {}
    for name, extra in {"with": [scores], "without": []}.items():
        config = compose(["rounds=3", "evaluation.every=2", *QUIET, *extra], tmp_path)
        assert run(config, tmp_path).status == "FINISHED"
        history[name] = read(run_folder(tmp_path, config_hash(config)).journal)
    curve = history["with"].curve
    assert curve("test/accuracy") == history["without"].curve("test/accuracy")
    classes = [curve(f"test/class_{label}") for label in range(10)]
    names = ("test/f1", "test/calibration_error", "client/worst", "client/mean", "client/variance")
    for values in (*map(curve, names), *classes):
        assert [step for step, _ in values] == [2, 3]
        assert all(0 <= value <= 1 for _, value in values)
    assert curve("client/worst")[-1][1] <= curve("client/mean")[-1][1]
    assert not history["without"].curve("test/f1")


def test_an_unknown_score_is_refused():
    with pytest.raises(ConfigError, match=r"evaluation\.scores"):
        compose(["evaluation.scores=[auroc]"], REPOSITORY)
