"""The way of training as a part of whole runs."""

import json
from pathlib import Path

import pytest
import torch

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.federated.callbacks.checkpointing import Commit
from fl_platform.federated.client_training.sequential import Sequential
from fl_platform.run.runner import run
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import IdentityMismatch, run_folder

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def composed(tmp_path):
    def make(home, *overrides):
        place = tmp_path / home
        if not place.exists():
            place.mkdir()
            (place / "conf").symlink_to(REPOSITORY / "conf")
        quiet = ["runtime.tracking=journal", "runtime.progress=none"]
        return compose(["task=digits", "rounds=3", *quiet, *overrides], place), place

    return make


@pytest.fixture
def go(composed):
    def start(way, *overrides):
        config, home = composed(way, f"runtime.local={way}", *overrides)
        run(config, home)
        folder = run_folder(home, config_hash(config))
        losses = [point.value for point in read(folder.journal).metrics["round/loss"].values()]
        return losses, json.loads((folder.path / "run.json").read_text())["conditions"]

    return start


def test_all_ways_tell_the_same_story_and_the_record_names_the_way(go):
    attack = ["attack=label_flip", "defense=multi_krum"]
    told = {way: go(way, *attack) for way in ("sequential", "vmapped", "auto")}
    assert [conditions["local"] for _, conditions in told.values()] == [
        "sequential",
        "vmapped",
        "vmapped",
    ]
    assert told["auto"][0] == told["vmapped"][0]
    assert told["vmapped"][0] == pytest.approx(told["sequential"][0], rel=1e-3)
    assert told["vmapped"][0] != pytest.approx(go("channels_last")[0], rel=1e-3)


def test_a_resumed_run_keeps_the_way_that_it_began_with(composed, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    begun, home = composed("home", "runtime.local=sequential")
    monkeypatch.setattr(Commit, "on_train_epoch_end", broken)
    with pytest.raises(ZeroDivisionError):
        run(begun, home)
    monkeypatch.undo()
    with pytest.raises(IdentityMismatch, match="local: 'sequential' then, 'vmapped' now"):
        run(composed("home")[0], home)
    assert run(begun, home).status == "FINISHED"


@pytest.mark.parametrize("fails", [False, True])
def test_the_deterministic_mode_holds_inside_the_run_alone(composed, monkeypatch, fails):
    seen = []
    original = Sequential._step

    def watched(self, *batch):
        seen.append(torch.are_deterministic_algorithms_enabled())
        if fails:
            raise ZeroDivisionError
        return original(self, *batch)

    monkeypatch.setattr(Sequential, "_step", watched)
    config, home = composed("home", "runtime.local=sequential", "runtime.deterministic=true")
    if fails:
        with pytest.raises(ZeroDivisionError):
            run(config, home)
    else:
        run(config, home)
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    described = json.loads((run_folder(home, config_hash(config)).path / "run.json").read_text())
    assert described["conditions"]["deterministic"] is True


def test_how_it_is_computed_is_no_part_of_what_a_run_is(composed):
    hashes = {
        config_hash(composed("home", *typed)[0])
        for typed in ([], ["runtime.precision=tf32"], ["runtime.deterministic=true"])
    }
    assert len(hashes) == 1


def test_tf32_is_refused_where_there_is_none(composed):
    config, home = composed("home", "runtime.precision=tf32", "runtime.device=cpu")
    with pytest.raises(ConfigError, match=r"runtime\.precision: expected a CUDA device"):
        run(config, home)
