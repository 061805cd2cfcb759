"""An estimate reads earlier runs of the same setting, else of the same task, before it measures."""

import json
from pathlib import Path

import pytest

from fl_platform.config import compose, config_hash
from fl_platform.grid import estimate as module
from fl_platform.grid.estimate import Cost, estimate
from fl_platform.grid.plan import PlannedRun
from fl_platform.run.naming import run_name, seedless, task_of
from fl_platform.tracking.run_folder import run_folder

REPOSITORY = Path(__file__).resolve().parents[2]


def planned(*overrides):
    config = compose([*overrides, "rounds=10"], REPOSITORY)
    return PlannedRun(overrides, config, config_hash(config), run_name(config))


def finished(home, run, seconds):
    folder = run_folder(home, run.config_hash).path
    folder.mkdir(parents=True)
    identity = {"run_id": "a" * 32, "name": run.name, "config_hash": run.config_hash}
    identity |= {"experiment": "x", "created": 0.0, "conditions": {}}
    (folder / "run.json").write_text(json.dumps(identity))
    result = {"run_id": "a" * 32, "status": "FINISHED", "config_hash": run.config_hash}
    result |= {"rounds": 10, "seconds": seconds}
    (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def measured(monkeypatch):
    calls = []
    cost = Cost(100.0, 1.0, 5.0)
    monkeypatch.setattr(module, "measure", lambda run, home: calls.append(run.name) or cost)
    return calls


def test_a_run_of_the_same_setting_comes_before_one_of_the_same_task(tmp_path, measured):
    same, other = planned("task=digits", "seed=3"), planned("task=digits", "attack=lie")
    finished(tmp_path, same, 20.0)
    finished(tmp_path, other, 50.0)
    assert estimate([planned("task=digits", "seed=4")], tmp_path).seconds == pytest.approx(20)
    assert not measured


def test_a_run_of_the_same_task_comes_before_a_measurement(tmp_path, measured):
    finished(tmp_path, planned("task=digits", "attack=lie"), 50.0)
    new = planned("task=digits", "attack=ipm", "defense=median")
    assert estimate([new], tmp_path).seconds == pytest.approx(50)
    assert not measured
    assert estimate([planned("task=cifar10")], tmp_path).seconds == pytest.approx(1000)
    assert len(measured) == 1


def test_more_rounds_enlarge_the_journal_and_no_other_file(tmp_path, measured):
    ended = planned("task=digits", "attack=lie")
    finished(tmp_path, ended, 20.0)
    folder = run_folder(tmp_path, ended.config_hash)
    fixed = sum(file.stat().st_size for file in folder.path.iterdir())
    folder.artifacts.mkdir()
    for file in (folder.checkpoint, folder.artifacts / "weights.pt"):
        file.write_bytes(b"x" * 10**6)
    for file in (folder.journal, folder.artifacts / "cloud_1.npz"):
        file.write_bytes(b"x" * 1000)
    config = compose(["task=digits", "attack=lie", "rounds=200"], REPOSITORY)
    longer = PlannedRun((), config, config_hash(config), run_name(config))
    found = estimate([longer], tmp_path).bytes
    assert found == pytest.approx(fixed + 2 * 10**6 + 20 * 2000)


def test_names_say_their_task_and_lose_their_seed():
    name = planned("task=digits", "attack=lie", "seed=12").name
    assert task_of(name) == "digits"
    assert seedless(name) + " s12" == name
    assert seedless("a name of my own") == "a name of my own"
