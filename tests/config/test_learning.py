"""Local work, worker momentum and schedules as configuration, and what is refused."""

from pathlib import Path

import pytest

from fl_platform.config import ConfigError, canonical, compose, config_hash
from fl_platform.core.schedules import Milestones
from fl_platform.run.build import local_training

ROOT = Path(__file__).parents[2]


def composed(*overrides):
    return compose(list(overrides), ROOT)


def test_steps_replace_the_epochs_of_the_task_file():
    local = composed("task.local.steps=3").task.local
    assert (local.epochs, local.steps) == (None, 3)
    assert local_training(local).steps == 3


def test_fedsgd_is_a_short_form():
    local = composed("local=fedsgd", "task.local.batch=25").task.local
    assert (local.steps, local.epochs, local.walk, local.batch) == (1, None, "cycling", 25)
    assert (local.lr, local.momentum, local.weight_decay, local.clip) == (1.0, 0.0, 0.0, None)
    spelled = ["steps=1", "walk=cycling", "lr=1.0", "momentum=0", "weight_decay=0", "clip=null"]
    same = composed(*(f"task.local.{text}" for text in spelled), "task.local.batch=25")
    assert same.task.local == local
    assert config_hash(same) == config_hash(composed("local=fedsgd", "task.local.batch=25"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task.local.steps=2", "task.local.epochs=2"], "task.local.steps: expected null beside"),
        (["task.local.steps=0"], "task.local.steps: expected a number >= 1"),
        (["task.local.walk=cycling"], "task.local.walk: expected fresh with epochs"),
        (["task.local.walk=round"], "task.local.walk: expected one of fresh, cycling"),
        (["task.local.drop_last=1"], "task.local.drop_last: expected true or false"),
        (["task.local.momentum=1"], "task.local.momentum: expected a number from 0 to below 1"),
        (["server.momentum=1"], "server.momentum: expected a number from 0 to below 1"),
        (["worker.momentum=1"], "worker.momentum: expected a number from 0 to below 1"),
        (["worker.momentum=0.9", "worker.dampening=1.5"], "worker.dampening: expected"),
        (["worker.dampening=0.9"], "worker.dampening: expected 0 without worker.momentum"),
        (["server.weight_decay=-1"], "server.weight_decay: expected a number >= 0"),
        (["server.schedule.kind=milestone"], "server.schedule.kind: expected one of constant"),
        (["server.schedule.at=[3]"], "server.schedule.kind: expected one of"),
        (
            ["server.schedule={kind: milestones, at: [9, 3]}"],
            "server.schedule.at: expected rounds >= 1 in ascending order",
        ),
        (
            ["task.local.schedule={kind: milestones, at: [0]}"],
            "task.local.schedule.at: expected rounds >= 1",
        ),
        (["server.schedule={kind: milestones}"], "server.schedule.at is missing"),
        (
            ["server.schedule={kind: cosine, rounds: 9, at: [3]}"],
            "server.schedule.at: there is no such setting",
        ),
        (["server.schedule={kind: cosine, rounds: 0}"], "server.schedule.rounds: expected"),
        (["server.schedule={kind: inverse, period: 1.5}"], "server.schedule.period: expected"),
        (
            ["server.schedule={kind: piecewise, points: [[3]]}"],
            "server.schedule.points.0: expected",
        ),
        (["task.local.step=2"], "did you mean 'steps'"),
        (
            ["server.schedule={kind: piecewise, points: []}"],
            "expected a list, each [a whole number, a number], got an empty list",
        ),
        (
            ["server.schedule={kind: piecewise, points: [5]}"],
            "server.schedule.points.0: expected [a whole number, a number], got 5",
        ),
        (
            ["server.schedule={kind: piecewise, points: [[0, 0.0]]}"],
            "server.schedule.points: expected [round, factor]",
        ),
        (["evaluation.scores=[f1,f1]"], "evaluation.scores: expected each name once"),
        (
            ["task=mnist", "model=bucketing_cnn", "model.dropout=1"],
            "model.dropout: expected a finite",
        ),
    ],
)
def test_wrong_values_are_refused_in_one_line_that_names_the_key(overrides, words):
    with pytest.raises(ConfigError) as refused:
        composed(*overrides)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_schedule_has_one_form_and_reaches_the_clients():
    short = composed("task.local.schedule.kind=milestones", "task.local.schedule.at=[5]")
    whole = composed("task.local.schedule={kind: milestones, at: [5], factor: 0.1, warmup: 0}")
    assert config_hash(short) == config_hash(whole)
    assert local_training(short.task.local).schedule == Milestones(at=[5])
    assert config_hash(short) != config_hash(composed())


def test_new_settings_leave_old_names_alone():
    form = canonical(composed())
    assert "worker" not in form
    assert set(form["task"]["local"]) == {
        "epochs", "batch", "lr", "momentum", "weight_decay", "clip",
    }  # fmt: skip
    for typed in ("worker.momentum=0.9", "server.weight_decay=0.1", "task.local.drop_last=true"):
        assert config_hash(composed(typed)) != config_hash(composed())
